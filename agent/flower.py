r"""Makes an agent appear in Flower: the agent as a Celery worker, its tasks as Celery tasks.

Two threads that the agent's own never waits for: one sends events (`transport/celery_events`), one answers what Flower asks
and passes its "terminate" on (`transport/celery_control`, `flower_answers`). Celery and kombu are imported when those threads
start, not before. What got lost on the way is said again (`transport/event_repeats`).

    received --> started --> succeeded | failed | revoked
        \_____________________________________^   (a task that never ran fails or is revoked straight away)
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from mesolite.ids import AgentId
from mesolite.protocol import TERMINAL_STATES, FrameworkInfo, TaskInfo, TaskState, TaskStatus
from mesolite.transport.address import scheme_of
from mesolite.transport.celery_broker import open_broker
from mesolite.transport.celery_control import ControlMailbox
from mesolite.transport.celery_events import EventPublisher, worker_name
from mesolite.transport.event_repeats import Repeats
from mesolite.transport.event_sampler import Sampler
from mesolite.transport.keys import DEFAULT_CLUSTER, agent_queue, key_prefix

from .effects import TaskChange, TotalsChange
from .flower_answers import ControlAnswers, OnTerminate
from .flower_endings import Endings
from .flower_ledger import TaskLedger
from .flower_story import LedgerStories, ending_event, received_event, started_event, whole_story
from .flower_tasks import AgentView, TaskEnding, TaskView, shown_id
from .flower_totals import CallTotals

__all__ = ["AgentView", "FlowerObserver", "FlowerPresence", "TaskEnding", "TaskView"]

#: New tasks a second that are shown. Three events each; Flower itself follows some 2,000 events a second.
DEFAULT_SHOWN_TASKS_PER_S: Final = 200.0

#: The end of a key of Redis: a sorted set of the agents that appear in Flower, by when they last said so.
_ALIVE: Final = "flower"


class FlowerPresence:
    """An agent's place in Flower. Its methods return at once, whatever the broker does."""

    def __init__(
        self,
        *,
        agent_id: AgentId,
        broker_url: str,
        details: Callable[[], AgentView],
        on_terminate: OnTerminate,
        cluster: str = DEFAULT_CLUSTER,
        transport_options: Mapping[str, object] | None = None,
        shown_tasks_per_s: float = DEFAULT_SHOWN_TASKS_PER_S,
        endings: Endings | None = None,
    ) -> None:
        """Prepare; nothing is connected before `start`.

        Args:
            agent_id: Names the worker: "mesolite@ID".
            broker_url: The Redis that Flower is given too, as settings write it.
            details: Describes the agent; called from the control thread.
            on_terminate: Called from the control thread with the framework and the id of a task that someone asked to end;
                without the framework, every framework's. Broadcasts reach every agent, so the task may be unknown; ignore it
                then. Must not block.
            cluster: Stands in the names of the agent's queue and of a key that agents share.
            transport_options: For kombu, beyond its timeouts.
            shown_tasks_per_s: Above this rate new tasks are left out, except those that fail; nothing is repeated faster.
            endings: Where ends are kept for the next life; without it a kill -9 may keep the newest from Flower.
        """
        self.worker: Final = worker_name(agent_id)
        self._details = details
        self._ledger = TaskLedger(time.time)
        self._endings = endings
        for task in endings.load() if endings is not None else ():
            self._ledger.remember(task)
        self._calls = CallTotals()
        self._sampler = Sampler(shown_tasks_per_s, time.monotonic)
        self._repeats = Repeats(
            LedgerStories(self._ledger),
            shown_tasks_per_s,
            clock_s=time.monotonic,
            wall_clock_s=time.time,
            random=random.random,
        )
        broker = partial(open_broker, broker_url, transport_options)
        self._events = EventPublisher(
            self.worker, broker, self._heartbeat_fields, self._repeats, f"{key_prefix(cluster)}{_ALIVE}"
        )
        answers = ControlAnswers(
            worker=self.worker,
            queue=agent_queue(agent_id, cluster),
            transport=scheme_of(broker_url),
            ledger=self._ledger,
            details=details,
            on_terminate=on_terminate,
            listeners=self,
            calls=self._calls,
        )
        self._control = ControlMailbox(self.worker, broker, answers, self)

    def start(self) -> None:
        """Begin to appear. The broker need not answer yet."""
        self._events.start()
        self._control.start()

    def task_received(self, view: TaskView, *, since_s: float | None = None) -> None:
        """The agent has a task that does not run yet. Repeating it changes nothing.

        Args:
            view: The task.
            since_s: When it came, where that was in a former life of the agent. Such tasks are always shown: they may have
                been, and would not be seen to end.
        """
        task = self._ledger.received(view, shown=since_s is not None or self._sampler.admit(), since_s=since_s)
        if task is not None and task.shown:
            self._events.put(received_event(task))

    def task_started(self, shown_id: str, *, since_s: float | None = None) -> None:
        """A received task runs."""
        task = self._ledger.started(shown_id, since_s=since_s)
        if task is not None and task.shown:
            self._events.put(started_event(task))

    def task_finished(self, framework: FrameworkInfo, task: TaskInfo, status: TaskStatus) -> None:
        """A task ended well: nothing is said, and hardly anything done, where it was left out."""
        if not self._ledger.finished_unshown(shown_id(framework.framework_id, task.task_id)):
            self.task_ended(TaskView.of(framework, task), TaskEnding.of(status))

    def task_ended(self, view: TaskView, ending: TaskEnding) -> None:
        """A task ended. One that was left out and failed is shown after all, and one of a former life as well."""
        before = self._ledger.find(view.shown_id)
        task = self._ledger.ended(view, ending)
        if task is None or not task.shown:
            return
        if self._endings is not None:
            self._endings.add(task)
        if before is not None and before.shown:
            self._events.put(ending_event(task))
        else:
            self._events.put(*whole_story(task))

    def totals_changed(self, changes: Sequence[TotalsChange]) -> None:
        """Executors said how many calls they have run; shown with the next heartbeat."""
        self._calls.changed(changes)

    def listener_came(self) -> None:
        """Somebody listens anew: say everything again soon. Called from the control thread."""
        self._repeats.listener_came()
        self._events.wake()

    def enable_asked(self) -> None:
        """Flower gave its regular sign of life. Called from the control thread."""
        self._repeats.enable_asked()
        self._events.wake()

    def dropped_events(self) -> int:
        """Count the events lost because the broker was away for too long."""
        return self._events.dropped()

    def close(self) -> None:
        """Say goodbye and stop, within a few seconds whatever the broker does."""
        self._events.close()
        self._control.close()

    def _heartbeat_fields(self) -> dict[str, object]:
        details = self._details()
        return {
            "active": self._ledger.running_count() + self._calls.active(),
            "processed": sum(self._ledger.totals().values()) + self._calls.processed(),
            "sw_ident": "mesolite",
            "sw_ver": details.version or "0",
            "sw_sys": "Linux",
        }


class FlowerObserver:
    """Passes on to Flower what tasks and executors do."""

    def __init__(self, presence: FlowerPresence) -> None:
        self._presence: Final = presence

    def tasks_changed(self, changes: Sequence[TaskChange]) -> None:
        """See `TaskObserver`."""
        for change in changes:
            framework, task = change.framework, change.task
            if change.state is TaskState.STAGING:
                self._presence.task_received(TaskView.of(framework, task), since_s=_since_s(change))
            elif change.state is TaskState.RUNNING:
                self._presence.task_started(shown_id(framework.framework_id, task.task_id), since_s=_since_s(change))
            elif change.state is TaskState.FINISHED and change.status is not None:
                self._presence.task_finished(framework, task, change.status)
            elif change.state in TERMINAL_STATES and change.status is not None:
                self._presence.task_ended(TaskView.of(framework, task), TaskEnding.of(change.status))

    def totals_changed(self, changes: Sequence[TotalsChange]) -> None:
        """See `ExecutorObserver`."""
        self._presence.totals_changed(changes)


def _since_s(change: TaskChange) -> float | None:
    return None if change.since_ms is None else change.since_ms / 1000
