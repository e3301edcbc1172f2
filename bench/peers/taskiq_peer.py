"""taskiq over a Redis list, results in Redis: two worker processes."""

# pyright: reportMissingImports=false

import asyncio
from importlib.metadata import version
from typing import Any

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from . import work
from .conversation import Peer, Workers, redis_url, serve

#: By default a fifth of a second.
POLL_S = 0.005
#: Sent at once.
TOGETHER = 100

results: Any = RedisAsyncResultBackend(redis_url())
broker = ListQueueBroker(redis_url()).with_result_backend(results)


async def nothing(number: int) -> int:
    """Do what `work.nothing` does."""
    return work.nothing(number)


called: Any = broker.task(task_name="nothing")(nothing)


class Taskiq(Peer):
    """Workers of its own command."""

    version = f"taskiq {version('taskiq')}, taskiq-redis {version('taskiq-redis')}"
    setting = f"2 workers, results looked for every {POLL_S} s"

    def __init__(self) -> None:
        self._workers = Workers()
        self._loop = asyncio.new_event_loop()

    def start(self) -> None:
        """See `Peer`."""
        self._workers.start(
            ["taskiq", "worker", "bench.peers.taskiq_peer:broker", "--workers", "2", "--log-level", "WARNING"]
        )
        self._loop.run_until_complete(broker.startup())

    def many(self, calls: int) -> None:
        """See `Peer`."""
        self._loop.run_until_complete(self._many(calls))

    def one(self, number: int) -> None:
        """See `Peer`."""
        self._loop.run_until_complete(self._one(number))

    def stop(self) -> None:
        """See `Peer`."""
        self._loop.run_until_complete(broker.shutdown())
        self._workers.stop()

    async def _many(self, calls: int) -> None:
        tasks: list[Any] = []
        for first in range(0, calls, TOGETHER):
            numbers = range(first, min(first + TOGETHER, calls))
            tasks += await asyncio.gather(*(called.kiq(number) for number in numbers))
        for task in tasks:
            await task.wait_result(check_interval=POLL_S, timeout=60)

    async def _one(self, number: int) -> None:
        task = await called.kiq(number)
        await task.wait_result(check_interval=POLL_S, timeout=60)


if __name__ == "__main__":
    serve(Taskiq())
