"""What Celery's events say of a task: the same words, with the same times, the first time and when they are repeated."""

from typing import Final

from mesolite.transport.event_repeats import Event

from .flower_ledger import KnownTask, TaskLedger
from .flower_tasks import TaskEnding


class LedgerStories:
    """An agent's `Stories`: of the tasks in its ledger."""

    def __init__(self, ledger: TaskLedger) -> None:
        self._ledger: Final = ledger

    def to_repeat(self, ended_after_s: float) -> list[str]:
        """See `Stories`."""
        return self._ledger.to_repeat(ended_after_s)

    def story(self, shown_id: str) -> list[Event]:
        """See `Stories`."""
        task = self._ledger.find(shown_id)
        return [] if task is None else whole_story(task)


def received_event(task: KnownTask) -> Event:
    """Say that the agent has a task."""
    view = task.view
    fields: dict[str, object] = {
        "uuid": view.shown_id,
        "name": view.name,
        "args": view.command,
        "kwargs": ", ".join(f"{name}={value}" for name, value in sorted(view.kwargs().items())),
        "root_id": view.shown_id,
        "parent_id": None,
        "retries": 0,
        "eta": None,
        "expires": None,
        "timestamp": task.received_s,
    }
    return "task-received", fields


def started_event(task: KnownTask) -> Event:
    """Say that a task runs."""
    assert task.started_s is not None, "it is asked for tasks that started"
    return "task-started", {"uuid": task.view.shown_id, "timestamp": task.started_s}


def ending_event(task: KnownTask) -> Event:
    """Say how a task ended."""
    ending = task.ending
    assert ending is not None, "it is asked for tasks that ended"
    kind, fields = _words(ending)
    fields |= {"uuid": task.view.shown_id, "timestamp": ending.ended_s}
    if ending.outcome != "killed":
        # Flower shows a runtime only where Celery computes one; for failures it is simply stored.
        fields["runtime"] = max(0.0, ending.ended_s - task.started_s) if task.started_s is not None else 0.0
    return kind, fields


def whole_story(task: KnownTask) -> list[Event]:
    """Say all that is known of a task, in its order."""
    events = [received_event(task)]
    if task.started_s is not None:
        events.append(started_event(task))
    if task.ending is not None:
        events.append(ending_event(task))
    return events


def _words(ending: TaskEnding) -> Event:
    match ending.outcome:
        case "succeeded":
            return "task-succeeded", {"result": str(ending.exit_code)}
        case "failed":
            return "task-failed", {"exception": ending.exception(), "traceback": ""}
        case "killed":
            return "task-revoked", {"terminated": True, "signum": "SIGTERM", "expired": False}
