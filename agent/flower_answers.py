"""What an agent answers to Celery's remote control: to Flower's questions, and to its "terminate" button.

Requests that make sense for an agent are answered in the shape of Celery's own (celery `worker/control.py`); the others (pool
size, rate limits, shutdown) are refused with a sentence that Flower shows. Broadcasts without a destination reach every
agent, so an agent is silent about tasks that it does not have.
"""

import os
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from mesolite.ids import FrameworkId, TaskId
from mesolite.transport.celery_control import Listeners, Reply

from .flower_ledger import KnownTask, TaskLedger
from .flower_tasks import AgentView, parse_shown_id
from .flower_totals import CallTotals

#: Ids that one revoke may name; the rest is ignored.
MAX_REVOKED_AT_ONCE: Final = 1000

#: Tasks in one answer, so that a reply stays below a few MB.
MAX_LISTED_TASKS: Final = 1000

#: Told the id of a task that shall end; of whichever framework where that is None.
OnTerminate: TypeAlias = Callable[[FrameworkId | None, TaskId], None]


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
        calls: CallTotals | None = None,
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
            calls: What executors have done without tasks.
        """
        self._worker = worker
        self._queue_name = queue
        self._transport = transport
        self._ledger = ledger
        self._details = details
        self._on_terminate = on_terminate
        self._listeners = listeners
        self._calls = calls if calls is not None else CallTotals()
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
            "total": self._ledger.totals() | self._calls.by_name(),
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


def _as_list(value: object) -> Iterable[object]:
    if isinstance(value, (list, tuple)):
        return list[object](value)
    return [value]


def _readable(resources_milli: tuple[tuple[str, int], ...]) -> str:
    return ";".join(f"{name}:{amount / 1000:g}" for name, amount in resources_milli)
