"""Hears Celery's remote control broadcasts for whoever appears in Flower as a worker, and passes answers back.

Celery's control is kombu's pidbox: a fanout exchange for requests, a direct one for replies (celery `app/control.py`).
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias

from mesolite.logs import get_logger

from .celery_broker import CHECK_EVERY_S, SubscriptionCheck, broker_errors

#: Celery's defaults (`control_exchange`, `control_queue_ttl`, `control_queue_expires`): both sides must declare alike.
CONTROL_NAMESPACE: Final = "celery"
CONTROL_QUEUE_TTL_S: Final = 300.0
CONTROL_QUEUE_EXPIRES_S: Final = 10.0

#: How long the mailbox waits before it looks whether it shall close, and whether it can still hear.
POLL_INTERVAL_S: Final = CHECK_EVERY_S

#: Flower speaks every 5 s. Where it has spoken and is silent for so long, it is gone, or the subscription is dead in a way
#: that its server's signs of life do not show (a primary that nobody else follows): subscribing anew costs little.
MAX_SILENCE_S: Final = 30.0

#: Pause after a failed attempt to reach the broker, doubled each time.
MIN_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 2.0

Reply: TypeAlias = object
Handler: TypeAlias = Callable[..., Reply]

_log = get_logger("mesolite.control")


class Listeners(Protocol):
    """Wants to know who listens."""

    def listener_came(self) -> None:
        """Somebody begins to listen to events."""
        ...

    def enable_asked(self) -> None:
        """Somebody who listens asks that events be sent, as Flower does every 5 s."""
        ...


class Answers(Protocol):
    """What requests are answered with."""

    def answer(self, method: str, arguments: Mapping[str, object]) -> Reply:
        """Answer one request, or refuse it with a sentence. Called from the mailbox's thread."""
        ...


class _Handlers(dict[str, Handler]):
    """kombu's table of handlers, with an entry for every name: kombu logs a traceback for one that is missing."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers
        #: When something was asked last, on the monotonic clock; None before anything was.
        self.heard_s: float | None = None

    def __missing__(self, method: str) -> Handler:
        def handle(_state: object, **arguments: object) -> Reply:
            self.heard_s = time.monotonic()
            return self._answers.answer(method, arguments)

        return handle

    def is_suspiciously_silent(self) -> bool:
        """Say whether somebody used to ask, and has stopped."""
        return self.heard_s is not None and time.monotonic() - self.heard_s > MAX_SILENCE_S


class ControlMailbox:
    """Listens for broadcasts in a thread of its own and reconnects by itself."""

    def __init__(self, worker: str, broker: Callable[[], Any], answers: Answers, listeners: Listeners) -> None:
        """Prepare; nothing is connected before `start`.

        Args:
            worker: The name that is called.
            broker: Makes a connection to where broadcasts come from.
            answers: What is answered.
            listeners: Told where a broadcast may have been missed.
        """
        self._worker = worker
        self._broker = broker
        self._answers = answers
        self._listeners = listeners
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flower-control", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening, within a little more than POLL_INTERVAL_S."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(2 * POLL_INTERVAL_S)

    def _run(self) -> None:
        backoff_s = MIN_BACKOFF_S
        errors = broker_errors()
        while not self._closing.is_set():
            try:
                with self._broker() as connection:
                    channel = connection.channel()
                    handlers = _Handlers(self._answers)
                    with self._listen(connection, channel, handlers):
                        backoff_s = MIN_BACKOFF_S
                        # The broadcast of somebody who came meanwhile was missed.
                        self._listeners.listener_came()
                        self._drain(connection, channel, handlers)
            except errors as error:
                _log.warning("flower_control_unavailable", worker=self._worker, error=str(error), retry_s=backoff_s)
            self._closing.wait(backoff_s)
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    def _listen(self, connection: Any, channel: Any, handlers: _Handlers) -> Any:
        from kombu.pidbox import Mailbox

        make_mailbox: Callable[..., Any] = Mailbox
        mailbox = make_mailbox(
            CONTROL_NAMESPACE,
            type="fanout",
            connection=connection,
            accept=["json"],
            serializer="json",
            queue_ttl=CONTROL_QUEUE_TTL_S,
            reply_queue_ttl=CONTROL_QUEUE_TTL_S,
            queue_expires=CONTROL_QUEUE_EXPIRES_S,
            reply_queue_expires=CONTROL_QUEUE_EXPIRES_S,
        )
        return mailbox.Node(self._worker, channel=channel, handlers=handlers).listen()

    def _drain(self, connection: Any, channel: Any, handlers: _Handlers) -> None:
        """Answer until it is time to close, or to subscribe anew."""
        check = SubscriptionCheck(channel)
        checked_s = time.monotonic()
        while not self._closing.is_set() and not handlers.is_suspiciously_silent():
            with suppress(TimeoutError):
                connection.drain_events(timeout=POLL_INTERVAL_S)
            if time.monotonic() - checked_s >= CHECK_EVERY_S:
                checked_s = time.monotonic()
                check.run()
