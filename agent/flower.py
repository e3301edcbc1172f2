"""Makes an agent appear in an unmodified Flower: the agent as a Celery worker, its tasks as Celery tasks.

Two threads that the agent's own never waits for: one sends events (`flower_events`), one answers what Flower asks and
passes its "terminate" on (`flower_control`). Celery and kombu are imported when those threads start, not before. A task's
uuid is its task id; where two frameworks use one id on one agent, Flower sees one task.

    received --> started --> succeeded | failed | revoked
        \\_____________________________________^   (a task that never ran fails or is revoked straight away)
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from mesolite.ids import AgentId

from .flower_broker import BrokerAddress
from .flower_control import ControlAnswers, ControlMailbox
from .flower_events import EventPublisher, worker_name
from .flower_tasks import AgentView, LiveTask, Sampler, TaskEnding, TaskLedger, TaskView

__all__ = ["AgentView", "FlowerPresence", "TaskEnding", "TaskView"]

#: New tasks a second that are shown. Three events each; Flower itself follows some 2,000 events a second.
DEFAULT_SHOWN_TASKS_PER_S: Final = 200.0


class FlowerPresence:
    """An agent's place in Flower. Its methods return at once, whatever the broker does."""

    def __init__(
        self,
        *,
        agent_id: AgentId,
        broker_url: str,
        details: Callable[[], AgentView],
        on_terminate: Callable[[str], None],
        transport_options: Mapping[str, object] | None = None,
        shown_tasks_per_s: float = DEFAULT_SHOWN_TASKS_PER_S,
    ) -> None:
        """Prepare; nothing is connected before `start`.

        Args:
            agent_id: Names the worker: "mesolite@ID".
            broker_url: The Redis that Flower is given too, as settings write it.
            details: Describes the agent; called from the control thread.
            on_terminate: Called from the control thread with the id of a task that someone asked to end. Broadcasts reach
                every agent, so the task may be unknown; ignore it then. Must not block.
            transport_options: For kombu, beyond its timeouts.
            shown_tasks_per_s: Above this rate new tasks are left out, except those that fail.
        """
        self.worker: Final = worker_name(agent_id)
        broker = BrokerAddress(url=broker_url, transport_options=transport_options or {})
        self._details = details
        self._ledger = TaskLedger(time.time)
        self._sampler = Sampler(shown_tasks_per_s, time.monotonic)
        self._events = EventPublisher(self.worker, broker, self._heartbeat_fields)
        self._control = ControlMailbox(
            self.worker, broker, ControlAnswers(self.worker, broker_url, self._ledger, details, on_terminate)
        )

    def start(self) -> None:
        """Begin to appear. The broker need not answer yet."""
        self._events.start()
        self._control.start()

    def task_received(self, view: TaskView) -> None:
        """The agent has a task that does not run yet. Repeating it changes nothing."""
        task = self._ledger.received(view, shown=self._sampler.admit())
        if task is not None and task.shown:
            self._send_received(task)

    def task_started(self, task_id: str) -> None:
        """A received task runs."""
        task = self._ledger.started(task_id)
        if task is not None and task.shown:
            self._events.put("task-started", uuid=task_id)

    def task_ended(self, ending: TaskEnding) -> None:
        """A received task ended. One that was left out and failed is shown after all."""
        task = self._ledger.ended(ending)
        if task is None:
            return
        if not task.shown and ending.outcome == "failed":
            self._send_received(task)
            if task.started_s is not None:
                self._events.put("task-started", uuid=ending.task_id, timestamp=task.started_s)
        elif not task.shown:
            return
        self._send_ending(task, ending)

    def dropped_events(self) -> int:
        """Count the events lost because the broker was away for too long."""
        return self._events.dropped()

    def close(self) -> None:
        """Say goodbye and stop, within a few seconds whatever the broker does."""
        self._events.close()
        self._control.close()

    def _send_received(self, task: LiveTask) -> None:
        view = task.view
        kwargs = ", ".join(f"{name}={value}" for name, value in sorted(view.kwargs().items()))
        self._events.put(
            "task-received",
            uuid=view.task_id,
            name=view.name,
            args=view.command,
            kwargs=kwargs,
            root_id=view.task_id,
            parent_id=None,
            retries=0,
            eta=None,
            expires=None,
            timestamp=task.received_s,
        )

    def _send_ending(self, task: LiveTask, ending: TaskEnding) -> None:
        now_s = time.time()
        runtime_s = max(0.0, now_s - task.started_s) if task.started_s is not None else 0.0
        match ending.outcome:
            case "succeeded":
                self._events.put("task-succeeded", uuid=ending.task_id, result=str(ending.exit_code), runtime=runtime_s)
            case "failed":
                # Flower shows a runtime only where Celery computes one; for failures it is simply stored.
                self._events.put(
                    "task-failed", uuid=ending.task_id, exception=ending.exception(), traceback="", runtime=runtime_s
                )
            case "killed":
                self._events.put("task-revoked", uuid=ending.task_id, terminated=True, signum="SIGTERM", expired=False)

    def _heartbeat_fields(self) -> dict[str, object]:
        details = self._details()
        return {
            "active": self._ledger.running_count(),
            "processed": sum(self._ledger.totals().values()),
            "sw_ident": "mesolite",
            "sw_ver": details.version or "0",
            "sw_sys": "Linux",
        }
