"""Celery over Redis, results included; the option names the pool of its worker: `prefork` or `threads`."""

from typing import Any

import celery
from celery.result import AsyncResult

from .conversation import Peer, Workers, option, redis_url, serve
from .work import nothing

app = celery.Celery("calls", broker=redis_url(), backend=redis_url())
app.conf.broker_connection_retry_on_startup = True
called: Any = app.task(name="nothing")(nothing)


class Celery(Peer):
    """A worker of its own command, two at once."""

    version = f"Celery {celery.__version__}"

    def __init__(self, pool: str) -> None:
        self.setting = (
            f"{pool}, concurrency 2, without gossip, mingle and heartbeat, default prefetch; results in Redis"
        )
        self._pool = pool
        self._workers = Workers()

    def start(self) -> None:
        """See `Peer`."""
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")
        self._workers.start(
            [
                "celery",
                "--app",
                "bench.peers.celery_peer:app",
                "worker",
                "--pool",
                self._pool,
                "--concurrency",
                "2",
                *quiet,
            ]
        )

    def many(self, calls: int) -> None:
        """See `Peer`."""
        results: list[AsyncResult] = [called.delay(number) for number in range(calls)]
        for result in results:
            result.get()

    def one(self, number: int) -> None:
        """See `Peer`."""
        called.delay(number).get()

    def stop(self) -> None:
        """See `Peer`."""
        self._workers.stop()


if __name__ == "__main__":
    serve(Celery(option()))
