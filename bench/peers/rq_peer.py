"""RQ: two workers that run jobs in their own process, instead of forking for each."""

# pyright: reportMissingImports=false

import redis
import rq
from rq.job import Job

from .conversation import Peer, Workers, redis_url, serve
from .work import nothing

#: For a result; longer, and something hangs.
TIMEOUT_S = 60
#: Jobs in one write.
PIPELINE = 100


class Rq(Peer):
    """Workers of its own command."""

    version = f"RQ {rq.__version__ if hasattr(rq, '__version__') else rq.VERSION}"
    setting = f"2 SimpleWorkers, enqueue_many of {PIPELINE}, results waited for one after another"

    def __init__(self) -> None:
        self._queue = rq.Queue("calls", connection=redis.Redis.from_url(redis_url()))
        self._workers = Workers()

    def start(self) -> None:
        """See `Peer`."""
        for _ in range(2):
            self._workers.start(
                ["rq.cli", "worker", "calls", "--url", redis_url(), "--worker-class", "rq.SimpleWorker", "--quiet"]
            )

    def many(self, calls: int) -> None:
        """See `Peer`."""
        jobs: list[Job] = []
        for first in range(0, calls, PIPELINE):
            numbers = range(first, min(first + PIPELINE, calls))
            jobs += self._queue.enqueue_many([self._queue.prepare_data(nothing, (number,)) for number in numbers])
        for job in jobs:
            job.latest_result(timeout=TIMEOUT_S)

    def one(self, number: int) -> None:
        """See `Peer`."""
        self._queue.enqueue(nothing, number).latest_result(timeout=TIMEOUT_S)

    def stop(self) -> None:
        """See `Peer`."""
        self._workers.stop()


if __name__ == "__main__":
    serve(Rq())
