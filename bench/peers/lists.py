"""Two bare processes that take numbers from one Redis list and put them on another: what Redis itself allows.

With the option `batches` 32 numbers travel in one item, and go there and back in one piece.
"""

import os
import sys

import redis

from .conversation import Peer, Workers, option, redis_url, serve

BATCH = 32
#: Items in one write, so that the client is not what is measured.
PIPELINE = 100


class Lists(Peer):
    """The client's end."""

    version = f"redis-py {redis.__version__}"

    def __init__(self, batch: int) -> None:
        self.setting = f"2 processes, BLPOP and RPUSH, {'one number' if batch == 1 else f'{batch} numbers'} to an item"
        self._batch = batch
        self._client = redis.Redis.from_url(redis_url())
        self._workers = Workers()

    def start(self) -> None:
        """See `Peer`."""
        for _ in range(2):
            self._workers.start(["bench.peers.lists", "worker"])

    def many(self, calls: int) -> None:
        """See `Peer`."""
        numbers = [str(number) for number in range(calls)]
        items = [" ".join(numbers[first : first + self._batch]) for first in range(0, calls, self._batch)]
        for first in range(0, len(items), PIPELINE):
            pipeline = self._client.pipeline(transaction=False)
            for item in items[first : first + PIPELINE]:
                pipeline.rpush("calls", item)
            pipeline.execute()
        received = 0
        while received < calls:
            received += len(self._taken())

    def one(self, number: int) -> None:
        """See `Peer`."""
        self._client.rpush("calls", str(number))
        popped: list[bytes] = self._client.blpop(["results"])  # type: ignore[assignment]
        assert int(popped[1]) == number

    def stop(self) -> None:
        """See `Peer`."""
        self._workers.stop()

    def _taken(self) -> list[str]:
        """Wait for an item, and take what else is there."""
        # redis-py types these for both of its clients at once.
        popped: list[bytes] = self._client.blpop(["results"])  # type: ignore[assignment]
        others: list[bytes] = self._client.lpop("results", PIPELINE) or []  # type: ignore[assignment]
        return b" ".join([popped[1], *others]).decode().split()


def work() -> None:
    """Be a worker."""
    client = redis.Redis.from_url(redis_url())
    starter = os.getppid()
    popped: list[bytes] | None = None
    while os.getppid() == starter:
        # The last result and the wish for the next call go in one write.
        pipeline = client.pipeline(transaction=False)
        if popped is not None:
            pipeline.rpush("results", " ".join(popped[1].decode().split()))
        pipeline.blpop(["calls"], timeout=1)
        popped = pipeline.execute()[-1]


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        work()
    else:
        serve(Lists(BATCH if option() == "batches" else 1))
