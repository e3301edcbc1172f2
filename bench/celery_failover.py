"""How long after the death of the Redis primary tasks are done again: every worker at the same kill, under the same Sentinels.

A message for each worker is put into its queue every few milliseconds, by a bare client that finds the new primary at once,
and the same client looks for results. The time runs from the kill to the first result of a task that was put there afterwards:
by then the worker has found the new primary, takes messages from it and stores results in it. When the bare client could write
again is measured, too: that is the Sentinels' time, which nobody can beat.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from mesolite.ports import LOOPBACK
from mesolite.transport.address import parse_sentinel
from tests.integration.sentinel_rig import MASTER_NAME, PASSWORD, SENTINEL_PASSWORD, SentinelRig
from tests.waiting import eventually

from .celery_rates import say
from .celery_site import META, QUEUE
from .celery_workers import Worker

#: 40 tasks a second for each worker.
EVERY_S: Final = 0.025
#: A worker that has done nothing by then is taken to hang.
DEADLINE_S: Final = 60.0
#: Of results that are looked for. Whoever does any does one of the first, which come first.
WATCHED: Final = 400
#: Results before the kill, of each worker.
SETTLED: Final = 20
_TIMEOUT_S: Final = 0.5


@dataclass(slots=True)
class Stream:
    """Tasks for one worker, and when they were done after the last kill."""

    worker: Worker
    _broker: redis.Redis
    _backend: redis.Redis
    _messages: Any
    #: Of the tasks put since `forget`.
    ids: list[str] = field(default_factory=list[str])
    #: When the first of them was put, and when the first had a result.
    put_s: float | None = None
    done_s: float | None = None

    @classmethod
    def of(cls, worker: Worker, rig: SentinelRig) -> "Stream":
        """Make one; nothing is put yet."""
        site = worker.site
        return cls(
            worker, _client(site.broker_url, rig), _client(site.backend_url, rig), site.messages("nothing", (1,))
        )

    def forget(self) -> None:
        """Begin anew: what was put before counts no more."""
        self.ids.clear()
        self.put_s = self.done_s = None

    def step(self) -> None:
        """Put a task, and look for results."""
        with suppress(redis.RedisError, OSError):
            task_id, message = self._messages.cast()
            self._broker.lpush(QUEUE, message)
            self.put_s = self.put_s or time.monotonic()
            if len(self.ids) < WATCHED:
                self.ids.append(task_id)
        with suppress(redis.RedisError, OSError):
            if self.done_s is None and self.ids and self.done(1):
                self.done_s = time.monotonic()

    def done(self, count: int) -> bool:
        """Tell whether so many of those put have results."""
        return bool(self.ids) and int(self._backend.exists(*(META + task_id for task_id in self.ids))) >= count

    def close(self) -> None:
        """Let go of connections."""
        self._broker.close()
        self._backend.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """What one kill cost, in seconds from it."""

    #: Until the bare client had written.
    written_s: float
    #: By worker, until its first task was done; None: not by the deadline.
    done_s: Sequence[float | None]


def kill_primary(rig: SentinelRig, workers: Sequence[Worker]) -> Gaps:
    """Kill the primary while tasks stream, and wait for every worker; then make the Redis whole again."""
    primary = rig.wait_until_whole()
    streams = [Stream.of(worker, rig) for worker in workers]
    try:
        _run(streams, lambda: all(stream.done(SETTLED) for stream in streams))
        rig.settle()
        for stream in streams:
            stream.forget()
        killed_s = time.monotonic()
        primary.kill()
        _run(streams, lambda: all(stream.done_s is not None for stream in streams))
    finally:
        for stream in streams:
            stream.close()
        primary.start()
    written = [stream.put_s for stream in streams if stream.put_s is not None]
    assert written, "the Sentinels did not elect anybody"
    gaps = Gaps(
        written_s=min(written) - killed_s,
        done_s=[None if stream.done_s is None else stream.done_s - killed_s for stream in streams],
    )
    say(f"Redis primary killed: {gaps}")
    return gaps


def works(worker: Worker, rig: SentinelRig) -> bool:
    """Tell whether a worker still does tasks; one that hangs is to be started anew."""
    stream = Stream.of(worker, rig)
    try:
        _run([stream], lambda: stream.done(SETTLED))
        return stream.done(SETTLED)
    finally:
        stream.close()


def _run(streams: Sequence[Stream], over: Any) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        for stream in streams:
            stream.step()
        with suppress(redis.RedisError, OSError):
            if over():
                return
        time.sleep(EVERY_S)


def _client(url: str, rig: SentinelRig) -> redis.Redis:
    once: dict[str, Any] = {"socket_timeout": _TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
    # redis-py has no types for it.
    sentinel: Any = Sentinel
    hosts = [(LOOPBACK, each.port) for each in rig.sentinels]
    sentinels = sentinel(hosts, sentinel_kwargs={"password": SENTINEL_PASSWORD, **once})
    client: redis.Redis = sentinels.master_for(MASTER_NAME, password=PASSWORD, db=parse_sentinel(url).db, **once)
    eventually(client.ping)
    return client
