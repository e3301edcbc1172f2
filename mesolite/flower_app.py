"""Flower, as it shall be run beside Mesolite: an unmodified Flower on the same Redis as everything else, kept hearing.

Flower listens on one subscription in one thread (flower `events.py`). Left to itself that thread never notices a Redis that
hangs or is cut off without a word; kombu below it tries to connect again every 30 s at most; and the page of queues knows one
Sentinel and database 0. So four things are replaced here, each at a seam, and nothing else:

- the loop of the event thread, by one that asks for signs of life and reconnects soon;
- what becomes of an event, by one that skips what Flower already knows, and counts by what senders have counted
  (`flower_intake`);
- the tasks that it knows, which have more details, and whose names are any (`flower_task`): Flower has no application;
- the lengths of queues, by a reader that knows our addresses.

Flower's own settings work as always: FLOWER_* variables and flowerconfig.py.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import Any, Final, NoReturn

from mesolite.config import FlowerConfig
from mesolite.flower_intake import EventIntake
from mesolite.logs import get_logger
from mesolite.transport.address import shown
from mesolite.transport.celery_broker import CHECK_EVERY_S, SubscriptionCheck, broker_errors, celery_settings
from mesolite.transport.redis_client import connect, redis_errors

#: Pause after a lost connection, doubled each time.
MIN_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 2.0

#: Tasks that Flower keeps, where nobody says: 8 KB each with what it searches them by, so some 200 MB in all. Its own default is
#: 100,000, which took 800 MB, and 1.6 s for a page.
MAX_TASKS: Final = 20_000

#: Queues whose lengths one page shows; each is a question to Redis.
MAX_QUEUES: Final = 10_000

_log = get_logger("mesolite.flower")


def run_flower(config: FlowerConfig) -> NoReturn:
    """Be Flower until told to stop (SIGTERM, SIGINT), then end the process; with exit code 1 where it cannot hear any more.

    Raises:
        ConfigError: The address of Redis cannot be used.
    """
    # Its API is what terminates tasks from the page and from scripts; without this it asks for a login that nobody has.
    os.environ.setdefault("FLOWER_UNAUTHENTICATED_API", "1")
    os.environ.setdefault("FLOWER_MAX_TASKS", str(MAX_TASKS))
    flower = make_flower(
        config.redis_url,
        [f"--address={config.http_host}", f"--port={config.http_port}", f"--logging={config.log_level}"],
    )
    loop = EventLoop(flower.events, flower.capp)
    flower.events.run = loop.run
    signal.signal(signal.SIGTERM, _exit)
    port = flower.start_http_server()
    _log.info("flower.started", redis=shown(config.redis_url), url=f"http://{config.http_host}:{port}")
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        flower.start()
    flower.stop()
    _log.log(logging.ERROR if loop.ended else logging.INFO, "flower.stopped", hears=not loop.ended)
    logging.shutdown()
    # While Redis is away kombu repeats what Flower asked of it for ever, in threads that Python would wait for.
    os._exit(1 if loop.ended else 0)


def make_flower(redis_url: str, arguments: Sequence[str]) -> Any:
    """Make Flower's application as `celery flower` does (flower `command.py`), but for its event loop.

    Args:
        redis_url: The cluster's Redis, as settings write it.
        arguments: Flower's own: "--port=5555".

    Raises:
        ConfigError: The address cannot be used.
    """
    celery: Any = import_module("celery")
    command: Any = import_module("flower.command")
    app = celery.Celery("mesolite", set_as_current=False)
    app.conf.update(celery_settings(redis_url))
    command.apply_env_options()
    command.apply_options("mesolite flower", list(arguments))
    command.extract_settings()
    command.setup_logging()
    application: Any = import_module("flower.app")
    flower = application.Flower(capp=app, options=command.options, **command.settings)
    # kombu would write the name of our transport where others write redis://.
    flower.broker_uri = shown(redis_url)
    flower.events.on_event = EventIntake(flower.events).on_event
    tasks: Any = import_module("mesolite.flower_task")
    flower.events.state.Task = tasks.DetailedTask
    app.finalize()
    app._tasks = tasks.AnyTask(app._tasks)
    queues = QueueLengths(redis_url)

    def get_broker(_handler: Any) -> QueueLengths:
        return queues

    views: Any = import_module("flower.views")
    views.BaseHandler.get_broker = get_broker
    return flower


class EventLoop:
    """What Flower's event thread does: listens, asks whether the broker still lives, and reconnects."""

    def __init__(self, events: Any, app: Any) -> None:
        self._events = events
        self._app = app
        #: Something unforeseen ended it.
        self.ended = False

    def run(self) -> None:
        """Listen for ever. A Flower that cannot listen must not look alive: what ends this ends the process."""
        try:
            self._listen_for_ever()
        finally:
            self.ended = True
            signal.raise_signal(signal.SIGTERM)

    def _listen_for_ever(self) -> None:
        backoff_s = MIN_BACKOFF_S
        errors = broker_errors()
        pause = threading.Event()
        while True:
            began_s = time.monotonic()
            try:
                with self._app.connection() as connection:
                    self._receiver(connection).capture(limit=None, timeout=None, wakeup=True)
            except errors as error:
                _log.warning("flower.broker_unavailable", error=str(error), retry_s=backoff_s)
            if time.monotonic() - began_s > MAX_BACKOFF_S:
                backoff_s = MIN_BACKOFF_S
            pause.wait(backoff_s)
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    def _receiver(self, connection: Any) -> Any:
        receivers: Any = import_module("celery.events.receiver")
        receiver = receivers.EventReceiver(connection, handlers={"*": self._events.on_event}, app=self._app)
        # kombu would try to connect for ever by itself, every 30 s at last.
        receiver.connect_max_retries = 0
        greet = receiver.on_consume_ready

        def watch(consumer: Any, channel: Any, consumers: Any, **options: Any) -> None:
            check = SubscriptionCheck(channel)
            checked_s = time.monotonic()

            def look() -> None:
                nonlocal checked_s
                if time.monotonic() - checked_s >= CHECK_EVERY_S:
                    checked_s = time.monotonic()
                    check.run()

            # kombu calls it at each message, and once a second without any.
            receiver.on_iteration = look
            greet(consumer, channel, consumers, **options)

        receiver.on_consume_ready = watch
        return receiver


class QueueLengths:
    """What Flower's page of queues asks, for any address of ours (flower `utils/broker.py`)."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url

    async def queues(self, names: Sequence[str]) -> list[dict[str, object]]:
        """Return each queue's name and how many messages wait in it.

        Raises:
            RedisUnavailable: It does not answer; the page is empty then.
        """
        return await asyncio.to_thread(self._lengths, list(names)[:MAX_QUEUES])

    def _lengths(self, names: list[str]) -> list[dict[str, object]]:
        with redis_errors(shown(self._redis_url)), contextlib.closing(connect(self._redis_url)) as client:
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.llen(name)
            lengths: list[int] = pipeline.execute()
        return [{"name": name, "messages": length} for name, length in zip(names, lengths, strict=True)]


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
