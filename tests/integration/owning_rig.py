"""Producers and consumers of messages for tests of owned queues: a consumer in this process, and real Celery workers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast
from uuid import uuid4

from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer

from mesolite.frameworks.celery.broker import opening
from mesolite.frameworks.celery.broker.redis_ownership import RedisOwnership
from tests.waiting import eventually

_WORKER: Final = Path(__file__).with_name("owning_worker.py")


def raw_message(tag: str | None = None, *, body: str = "e30=", priority: int = 0, key: str = "celery") -> bytes:
    """Return a message as kombu puts it into a list; base64 of "{}" in it."""
    properties = {
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": key},
        "priority": priority,
        "body_encoding": "base64",
        "delivery_tag": tag or str(uuid4()),
    }
    message = {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {},
        "properties": properties,
    }
    return json.dumps(message).encode()


class OwningConsumer:
    """Consumes queues by our transport in this process, as Celery's worker would; one life of an owner.

    Args:
        url: The broker.
        owner: Its name.
        queues: What is consumed.
        prefetch: As Celery sets it; 0 is no limit.
        acks: Whether each message is acknowledged at once.
        options: Of kombu's transport.
    """

    def __init__(
        self,
        url: str,
        owner: str,
        queues: Sequence[str] = ("celery",),
        *,
        prefetch: int = 0,
        acks: bool = True,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.ownership: Final[RedisOwnership] = opening.install(owner)
        self.got: Final[list[Any]] = []
        self._url, self._queues, self._prefetch, self.acks = url, queues, prefetch, acks
        self._options = options or {}
        self.connection: Any = None
        self.consumer: Any = None
        self.connect()

    @property
    def tags(self) -> list[str]:
        """Tags of what was delivered, in order."""
        return [str(message.delivery_tag) for message in self.got]

    def connect(self) -> None:
        """Connect, or connect anew after a lost connection: what came before is closed as Celery does it."""
        if self.connection is not None:
            with contextlib.suppress(*self.connection.connection_errors):
                self.connection.collect()
        make: Any = Connection
        self.connection = make(self._url, transport_options=self._options)
        self.channel = self.connection.default_channel
        self.channel.basic_qos(0, self._prefetch, False)
        declared: list[Any] = [_queue(name) for name in self._queues]
        consumer: Any = Consumer
        self.consumer = consumer(self.channel, declared, on_message=self._on_message)
        self.consumer.consume()

    def drain_same_connection(self, within_s: float = 10.0) -> None:
        """Consume over the connection there is, through its errors, until another error comes."""

        def look() -> bool:
            with contextlib.suppress(*self.connection.connection_errors):
                self.drain()
            return False

        eventually(look, within_s=within_s)

    def drain(self, timeout_s: float = 0.2) -> None:
        """Wait once for events."""
        with contextlib.suppress(TimeoutError):
            self.connection.drain_events(timeout=timeout_s)

    def drain_through(self, timeout_s: float = 0.2) -> None:
        """The same, connecting anew where the connection is lost."""
        try:
            self.drain(timeout_s)
        except self.connection.connection_errors:
            with contextlib.suppress(*self.connection.connection_errors):
                self.connect()

    def drain_until(self, come_true: Callable[[], bool], within_s: float = 30.0) -> None:
        """Consume until something is true."""

        def look() -> bool:
            if come_true():
                return True
            self.drain_through(0.1)
            return False

        eventually(look, within_s=within_s)

    def until(self, count: int, within_s: float = 30.0) -> None:
        """Wait until so many messages came in all."""
        self.drain_until(lambda: len(self.got) >= count, within_s)

    def settle(self) -> None:
        """Wait until all that was said is written."""
        self.drain_through(0.05)
        self.drain_until(lambda: self.ownership.book.unwritten == 0)

    def die(self) -> None:
        """End without a word, as by kill -9, but for the lease, which lapses at once."""
        self.ownership.flusher = None
        self.connection.transport.cycle.consumption.line.close()
        self.ownership.store.leave(self.ownership.guard)
        self.ownership.abandon()

    def close(self, *, release: bool = True) -> None:
        """End in order."""
        with contextlib.suppress(*self.connection.connection_errors):
            self.consumer.cancel()
            self.connection.close()
        self.ownership.close(release=release)

    def _on_message(self, message: Any) -> None:
        self.got.append(message)
        if self.acks:
            message.ack()


@contextlib.contextmanager
def owning_consumer(url: str, owner: str, **options: Any) -> Generator[OwningConsumer]:
    """Give a consumer that ends in order, and leave kombu as it was."""
    consumer = OwningConsumer(url, owner, **options)
    try:
        yield consumer
    finally:
        consumer.close()
        opening.uninstall()


def _queue(name: str) -> Any:
    queue, exchange = cast("Any", Queue), cast("Any", Exchange)
    return queue(name, exchange(name), routing_key=name)


def producer(url: str, options: dict[str, Any] | None = None) -> Celery:
    """Return an application that sends tasks and knows nothing of us."""
    app: Any = Celery("producer", broker=url)
    app.conf.broker_transport_options = options or {}
    return cast("Celery", app)


class CeleryWorker:
    """A real Celery worker in a process of its own (see `owning_worker`).

    Args:
        url: The broker, where its tasks also write down that they ran.
        owner: Of what it takes; None: a plain worker of Celery.
        arguments: Of `celery worker`.
        options: Of kombu's transport.
        log: Where its output goes.
    """

    def __init__(
        self,
        url: str,
        owner: str | None,
        log: Path,
        *,
        arguments: Iterable[str] = (),
        options: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        app_url: str | None = None,
    ) -> None:
        said = {"url": url, "owner": owner, "arguments": [*arguments], "options": options or {}, "config": config or {}}
        said["notes_url"] = app_url or url
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(_WORKER), json.dumps(said)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(_WORKER.parents[2])},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def ready(self) -> Self:
        """Wait until it consumes."""
        eventually(lambda: b" ready." in self._log.read_bytes() or not self.runs, within_s=60)
        assert self.runs, self.log
        return self

    @property
    def runs(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace")

    def stop(self) -> int:
        """End it in order; return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.runs:
            self._process.kill()
        self._process.wait(30)
