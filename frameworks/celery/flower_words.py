"""The cluster's Flower's words about one run of a Celery task: Celery's own events, with what only Mesolite knows added.

A task waits at the dispatcher, as tasks wait in a worker that has prefetched them, and runs at an agent: what is said of it from
then on is said in the agent's name. Its uuid is Celery's own, since that is what its users hold and what they revoke.
"""

from dataclasses import dataclass
from typing import Any, Final

from mesolite.ids import AgentId
from mesolite.resources import MILLI
from mesolite.transport.celery_events import worker_name
from mesolite.transport.event_repeats import Event

from .watching import WatchedCall

#: Characters of a text, and of a traceback, that travel to Flower, which keeps thousands of them. Celery's own shortened forms
#: of arguments and results are half as long.
MAX_TEXT_CHARS: Final = 2_000
MAX_TRACEBACK_CHARS: Final = 8_000

RECEIVED: Final = "task-received"
STARTED: Final = "task-started"
#: After these nothing more is said of a run. One that is retried is received again.
ENDS: Final = frozenset(
    {"task-succeeded", "task-failed", "task-retried", "task-revoked", "task-rejected", "task-cancelled"}
)
#: Ends that may stand beside another, which says more.
SIDE_WORDS: Final = frozenset({"task-rejected", "task-cancelled"})


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One run of a task, from when the dispatcher received it. Times are of the wall clock, in seconds since 1970."""

    task_id: str
    name: str
    #: What Celery said of it: arguments, retries, eta.
    fields: dict[str, Any]
    received_s: float
    #: Its events are sent; False where the sampler left it out.
    shown: bool
    #: In whose name it is spoken of: the dispatcher's until it runs.
    worker: str
    started_s: float | None = None
    #: None until it was given to be run; it is not where it was revoked, or waits for its time.
    call: WatchedCall | None = None
    peak_kib: int | None = None
    #: It neither waits nor runs any more, as far as is counted.
    left: bool = False
    #: The last word, with what it says; None until then.
    ending: Event | None = None

    @property
    def waits_in_turn(self) -> bool:
        """It waits for a worker, not for its time: Flower's figures of waiting are about those alone."""
        return self.started_s is None and not self.fields.get("eta")


def agent_of(call: WatchedCall | None, otherwise: str) -> str:
    """Return the name in Flower of the agent that a call runs on."""
    place = call.place if call is not None else None
    return worker_name(AgentId(place.agent_id)) if place is not None else otherwise


def received_event(attempt: Attempt, dispatcher: str, framework_id: str) -> Event:
    """Say that the dispatcher has it."""
    fields = {name: _short(value) for name, value in attempt.fields.items()}
    return RECEIVED, {
        **fields,
        "uuid": attempt.task_id,
        "name": attempt.name,
        "hostname": dispatcher,
        "timestamp": attempt.received_s,
        "counted": True,
        **_details(attempt, framework_id),
    }


def started_event(attempt: Attempt, framework_id: str) -> Event:
    """Say that a worker has it."""
    return STARTED, {
        "uuid": attempt.task_id,
        "hostname": attempt.worker,
        "timestamp": attempt.started_s,
        "counted": True,
        **_details(attempt, framework_id),
    }


def ending_event(attempt: Attempt, kind: str, fields: dict[str, Any], at_s: float, framework_id: str) -> Event:
    """Say how it ended, in Celery's words."""
    said = {name: _short(value) for name, value in fields.items() if name != "traceback"}
    if fields.get("traceback"):
        # What was raised stands at its end.
        said["traceback"] = str(fields["traceback"])[-MAX_TRACEBACK_CHARS:]
    if attempt.peak_kib:
        said["peak_memory"] = f"{attempt.peak_kib / 1024:.1f} MiB"
    return kind, {
        **said,
        "uuid": attempt.task_id,
        "hostname": attempt.worker,
        "timestamp": at_s,
        "counted": True,
        **_details(attempt, framework_id),
    }


def story(attempt: Attempt, dispatcher: str, framework_id: str) -> list[Event]:
    """Say all that is known of it, in its order."""
    # Of one that was never received only the end is known.
    events = [received_event(attempt, dispatcher, framework_id)] if attempt.name else []
    if attempt.started_s is not None:
        events.append(started_event(attempt, framework_id))
    if attempt.ending is not None:
        events.append(attempt.ending)
    return events


def _details(attempt: Attempt, framework_id: str) -> dict[str, object]:
    """Say what `mesolite.flower_task` shows."""
    call = attempt.call
    if call is None:
        return {}
    kind, place = call.options.kind, call.place
    delivery: Any = call.run.request.get("delivery_info") or {}
    details: dict[str, object] = {
        "mesolite_id": call.name,
        "resources": f"cpus {kind.cpus_milli / MILLI:g}, mem {kind.mem_mib} MiB",
        "isolation": call.options.isolation,
        "image": kind.image,
        "routing_key": delivery.get("routing_key"),
        "exchange": delivery.get("exchange"),
    }
    if place is not None:
        alone = call.options.isolation == "task"
        path = f"{framework_id}/{call.name}" if alone else f"{framework_id}/{place.executor_id}/{call.name}"
        details |= {
            "agent": f"{place.agent_id} ({place.hostname})",
            "executor": place.executor_id,
            "output": f"mesolite logs {path}",
        }
    return {name: value for name, value in details.items() if value}


def _short(value: Any) -> Any:
    return value if not isinstance(value, str) or len(value) <= MAX_TEXT_CHARS else f"{value[: MAX_TEXT_CHARS - 1]}…"
