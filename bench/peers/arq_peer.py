"""arq: asyncio over Redis; two workers, each asking Redis a hundred times as often as by default."""

# pyright: reportMissingImports=false

import asyncio
from importlib.metadata import version
from typing import Any

from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.worker import func

from . import work
from .conversation import Peer, Workers, redis_url, serve

#: By default half a second, both for workers that look for jobs and for clients that look for results.
POLL_S = 0.005
#: Enqueued or awaited at once.
TOGETHER = 100


async def nothing(_: dict[Any, Any], number: int) -> int:
    """Do what `work.nothing` does."""
    return work.nothing(number)


class WorkerSettings:
    """What `arq` reads."""

    functions = (func(nothing, name="nothing"),)
    redis_settings = RedisSettings.from_dsn(redis_url())
    poll_delay = POLL_S
    max_jobs = 100
    log_results = False


class Arq(Peer):
    """Workers of its own command."""

    version = f"arq {version('arq')}"
    setting = f"2 workers of 100 coroutines, poll_delay {POLL_S} s at both ends"

    def __init__(self) -> None:
        self._workers = Workers()
        self._loop = asyncio.new_event_loop()

    def start(self) -> None:
        """See `Peer`."""
        for _ in range(2):
            self._workers.start(["arq", "bench.peers.arq_peer.WorkerSettings"])
        self._pool: ArqRedis = self._loop.run_until_complete(create_pool(WorkerSettings.redis_settings))

    def many(self, calls: int) -> None:
        """See `Peer`."""
        self._loop.run_until_complete(self._many(calls))

    def one(self, number: int) -> None:
        """See `Peer`."""
        self._loop.run_until_complete(self._one(number))

    def stop(self) -> None:
        """See `Peer`."""
        self._workers.stop()

    async def _many(self, calls: int) -> None:
        jobs: list[Any] = []
        for first in range(0, calls, TOGETHER):
            numbers = range(first, min(first + TOGETHER, calls))
            jobs += await asyncio.gather(*(self._pool.enqueue_job("nothing", number) for number in numbers))
        for job in jobs:
            await job.result(timeout=60, poll_delay=POLL_S)

    async def _one(self, number: int) -> None:
        job: Any = await self._pool.enqueue_job("nothing", number)
        await job.result(timeout=60, poll_delay=POLL_S)


if __name__ == "__main__":
    serve(Arq())
