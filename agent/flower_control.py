"""Answers Celery's remote control broadcasts for one agent: what Flower asks of a worker, and its "terminate" button.

Celery's control is kombu's pidbox: a fanout exchange for requests, a direct one for replies (celery `app/control.py`,
`worker/control.py`). Requests that make sense for an agent are answered in the shape of Celery's own; the others (pool
size, rate limits, shutdown) are refused with a sentence that Flower shows. Broadcasts without a destination reach every
agent, so an agent is silent about tasks that it does not have.
"""

import os
import resource
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias

from mesolite.ids import FrameworkId, TaskId
from mesolite.logs import get_logger
from mesolite.transport.celery_broker import CHECK_EVERY_S, SubscriptionCheck, broker_errors

from .flower_ledger import KnownTask, TaskLedger
from .flower_tasks import AgentView, parse_shown_id

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

#: Ids that one revoke may name; the rest is ignored.
MAX_REVOKED_AT_ONCE: Final = 1000

#: Tasks in one answer, so that a reply stays below a few MB.
MAX_LISTED_TASKS: Final = 1000

Reply: TypeAlias = object
Handler: TypeAlias = Callable[..., Reply]
#: Told the id of a task that shall end; of whichever framework where that is None.
OnTerminate: TypeAlias = Callable[[FrameworkId | None, TaskId], None]

_log = get_logger("mesolite.agent")


class Listeners(Protocol):
    """Wants to know who listens."""

    def listener_came(self) -> None:
        """Somebody begins to listen to events."""
        ...

    def enable_asked(self) -> None:
        """Somebody who listens asks that events be sent, as Flower does every 5 s."""
        ...


class ControlAnswers:
    """What each request is answered with. Knows no broker, so that it can be asked directly."""

    def __init__(
        self,
        worker: str,
        queue: str,
        transport: str,
        ledger: TaskLedger,
        details: Callable[[], AgentView],
        on_terminate: OnTerminate,
        listeners: Listeners,
    ) -> None:
        """Prepare.

        Args:
            worker: The name that Flower lists.
            queue: Where the agent's commands wait, for Flower's page of queues.
            transport: The kind of broker.
            ledger: The agent's tasks.
            details: Describes the agent.
            on_terminate: Asked to end a task.
            listeners: Told about signs of life of those who listen.
        """
        self._worker = worker
        self._queue_name = queue
        self._transport = transport
        self._ledger = ledger
        self._details = details
        self._on_terminate = on_terminate
        self._listeners = listeners
        self._born_s = time.monotonic()

    def answer(self, method: str, arguments: Mapping[str, object]) -> Reply:
        """Answer one request as Celery's `worker/control.py` would, or refuse it with a sentence."""
        match method:
            case "ping":
                return {"ok": "pong"}
            case "stats":
                return self._stats()
            case "active" | "reserved":
                return self._requests(running=method == "active")
            case "scheduled":
                return []
            case "revoked":
                return self._ledger.revoked()
            case "registered":
                return sorted(self._ledger.totals())
            case "active_queues":
                return [self._queue()]
            case "conf":
                return self._configuration()
            case "heartbeat":
                self._listeners.listener_came()
                return {"ok": "a heartbeat follows"}
            case "enable_events":
                self._listeners.enable_asked()
                return {"ok": "task events already enabled"}
            case "revoke":
                return self._revoke(arguments.get("task_id"), terminate=bool(arguments.get("terminate")))
            case "terminate":
                return self._revoke(arguments.get("task_id"), terminate=True)
            case _:
                return {"error": f"a mesolite agent does not do {method!r}"}

    def _stats(self) -> dict[str, object]:
        """Answer with what Flower's worker page prints."""
        details = self._details()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "pid": os.getpid(),
            "uptime": int(time.monotonic() - self._born_s),
            "total": self._ledger.totals(),
            "prefetch_count": 0,
            "clock": "0",
            "pool": {
                "implementation": details.containerizer,
                "max-concurrency": details.max_concurrency(),
                "processes": [],
                "resources": _readable(details.resources_milli),
            },
            "broker": {"transport": self._transport, "hostname": details.hostname},
            "rusage": {
                "utime": usage.ru_utime,
                "stime": usage.ru_stime,
                "maxrss": usage.ru_maxrss,
                "minflt": usage.ru_minflt,
                "majflt": usage.ru_majflt,
                "inblock": usage.ru_inblock,
                "oublock": usage.ru_oublock,
                "nvcsw": usage.ru_nvcsw,
                "nivcsw": usage.ru_nivcsw,
            },
        }

    def _revoke(self, task_id: object, *, terminate: bool) -> dict[str, str]:
        """Kill tasks as Celery would: with `terminate` whatever they do, without it only those that do not run yet."""
        ids = [item for item in _as_list(task_id) if isinstance(item, str)][:MAX_REVOKED_AT_ONCE]
        wanted = [item for item in ids if terminate or self._ledger.is_waiting(item)]
        for item in wanted:
            self._on_terminate(*parse_shown_id(item))
        if not wanted:
            return {"ok": "no such task waits here"}
        return {"ok": f"{'terminate' if terminate else 'revoke'}: {', '.join(wanted)}"}

    def _requests(self, *, running: bool) -> list[dict[str, object]]:
        return [self._request(task) for task in self._ledger.live(running=running)[:MAX_LISTED_TASKS]]

    def _request(self, task: KnownTask) -> dict[str, object]:
        return {
            "id": task.view.shown_id,
            "name": task.view.name,
            "args": task.view.command,
            "kwargs": task.view.kwargs(),
            "type": task.view.name,
            "hostname": self._worker,
            "time_start": task.started_s,
            "acknowledged": True,
            "delivery_info": {"routing_key": self._queue_name},
            "worker_pid": None,
        }

    def _queue(self) -> dict[str, object]:
        return {
            "name": self._queue_name,
            "routing_key": self._queue_name,
            "exchange": {"name": "", "type": "direct"},
            "alias": None,
            "exclusive": False,
            "durable": True,
            "auto_delete": False,
            "no_ack": True,
            "queue_arguments": None,
            "binding_arguments": None,
        }

    def _configuration(self) -> dict[str, object]:
        details = self._details()
        return {
            "containerizer": details.containerizer,
            "hostname": details.hostname,
            "resources": _readable(details.resources_milli),
            "sandboxes": details.url,
            "version": details.version,
        }


class _Handlers(dict[str, Handler]):
    """kombu's table of handlers, with an entry for every name: kombu logs a traceback for one that is missing."""

    def __init__(self, answers: ControlAnswers) -> None:
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

    def __init__(self, worker: str, broker: Callable[[], Any], answers: ControlAnswers, listeners: Listeners) -> None:
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


def _as_list(value: object) -> Iterable[object]:
    if isinstance(value, (list, tuple)):
        return list[object](value)
    return [value]


def _readable(resources_milli: tuple[tuple[str, int], ...]) -> str:
    return ";".join(f"{name}:{amount / 1000:g}" for name, amount in resources_milli)
