"""What the agent remembers of its tasks for Flower: those that live, those that ended lately, and counts.

It answers inspections, and from it everything is said again to a Flower that did not hear it. Bounded in every part; it
decides nothing about tasks. Shared by three threads (agent shell, event publisher, control mailbox), hence its lock.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from .flower_tasks import TaskEnding, TaskView

#: Live tasks remembered. An agent rarely runs hundreds; beyond this the oldest is no longer listed.
MAX_LIVE_TASKS: Final = 10_000

#: Ended tasks remembered, newest: some 1 KB each, and five seconds to say again at the default rate.
MAX_ENDED_TASKS: Final = 1000

#: Task names counted apart; further ones count as OTHER_NAMES. Flower prints one row for each.
MAX_COUNTED_NAMES: Final = 500
OTHER_NAMES: Final = "(other)"

#: Killed task ids remembered for the "revoked" page.
MAX_REVOKED: Final = 1000


@dataclass(slots=True, kw_only=True)
class KnownTask:
    """One task since its arrival. Times are of the wall clock, in seconds since 1970, as Celery's timestamps are."""

    view: TaskView
    received_s: float
    #: None until it runs.
    started_s: float | None = None
    #: None until it ends.
    ending: TaskEnding | None = None
    #: Its events are sent; False where the sampler left it out.
    shown: bool = True


class TaskLedger:
    """The tasks of one agent, by their shown ids. Every method may be called from any thread."""

    def __init__(self, wall_clock_s: Callable[[], float]) -> None:
        self._wall_clock_s = wall_clock_s
        self._lock = threading.Lock()
        #: Oldest first.
        self._live: OrderedDict[str, KnownTask] = OrderedDict()
        #: Those that were shown, oldest end first.
        self._ended: OrderedDict[str, KnownTask] = OrderedDict()
        self._totals: Counter[str] = Counter()
        self._revoked: OrderedDict[str, None] = OrderedDict()

    def received(self, view: TaskView, *, shown: bool, since_s: float | None = None) -> KnownTask | None:
        """Add a task that came now, or at `since_s`; None where it is listed already, or there is nothing to say of it."""
        key = view.shown_id
        with self._lock:
            if key in self._live:
                return None
            received_s = self._wall_clock_s() if since_s is None else since_s
            shown = shown and not view.is_told_elsewhere
            task = KnownTask(view=view, received_s=received_s, shown=shown)
            self._live[key] = task
            if len(self._live) > MAX_LIVE_TASKS:
                self._live.popitem(last=False)
            counted = view.name in self._totals or len(self._totals) < MAX_COUNTED_NAMES
            self._totals[view.name if counted else OTHER_NAMES] += 1
            return replace(task) if shown else None

    def started(self, shown_id: str, *, since_s: float | None = None) -> KnownTask | None:
        """Mark a task as running since now, or `since_s`; None where it is unknown or runs already."""
        with self._lock:
            task = self._live.get(shown_id)
            if task is None or task.started_s is not None:
                return None
            task.started_s = self._wall_clock_s() if since_s is None else since_s
            return replace(task)

    def finished_unshown(self, shown_id: str) -> bool:
        """Forget a task that was left out and ended well, as most do where thousands come in a second; say whether it is one."""
        with self._lock:
            task = self._live.get(shown_id)
            if task is None or task.shown:
                return False
            del self._live[shown_id]
            return True

    def ended(self, view: TaskView, ending: TaskEnding) -> KnownTask | None:
        """Move a task to the ended ones; None where it ended already.

        One that is unknown came in a former life of the agent and ended while it was away; its end must not be kept from a
        Flower that saw it begin.
        """
        key = view.shown_id
        with self._lock:
            if key in self._ended:
                return None
            task = self._live.pop(key, None) or KnownTask(view=view, received_s=ending.ended_s)
            task.ending = ending
            # A failure is shown even where the task was not.
            task.shown = (task.shown or ending.outcome == "failed") and not view.is_told_elsewhere
            if task.shown:
                self._ended[key] = task
                if len(self._ended) > MAX_ENDED_TASKS:
                    self._ended.popitem(last=False)
            if ending.outcome == "killed" and not view.is_told_elsewhere:
                self._revoked[key] = None
                if len(self._revoked) > MAX_REVOKED:
                    self._revoked.popitem(last=False)
            return replace(task)

    def remember(self, task: KnownTask) -> None:
        """Enter a task that ended in a former life of the agent, to be said again; it counts for nothing else."""
        with self._lock:
            if task.ending is not None and task.view.shown_id not in self._live:
                self._ended[task.view.shown_id] = task
                if len(self._ended) > MAX_ENDED_TASKS:
                    self._ended.popitem(last=False)

    def find(self, shown_id: str) -> KnownTask | None:
        """Return a task as it is now."""
        with self._lock:
            task = self._live.get(shown_id) or self._ended.get(shown_id)
            return replace(task) if task is not None else None

    def to_repeat(self, ended_after_s: float) -> list[str]:
        """Name the shown tasks that live, oldest first, then those that ended after a time, newest first."""
        with self._lock:
            live = [key for key, task in self._live.items() if task.shown]
            ended = [
                key
                for key, task in reversed(self._ended.items())
                if task.ending is not None and task.ending.ended_s >= ended_after_s
            ]
            return live + ended

    def is_waiting(self, shown_id: str) -> bool:
        """Say whether a task has arrived and does not run yet."""
        with self._lock:
            task = self._live.get(shown_id)
            return task is not None and task.started_s is None

    def live(self, *, running: bool) -> list[KnownTask]:
        """Return the tasks that run, or those that wait to, oldest first; those that are told of elsewhere are listed there."""
        with self._lock:
            live = [task for task in self._live.values() if not task.view.is_told_elsewhere]
            return [replace(task) for task in live if (task.started_s is not None) == running]

    def running_count(self) -> int:
        """Count the tasks that run, but for workers of pools (`TaskView.is_slot`)."""
        with self._lock:
            return sum(task.started_s is not None and not task.view.is_slot for task in self._live.values())

    def totals(self) -> dict[str, int]:
        """Return how many tasks of each name have arrived."""
        with self._lock:
            return dict(self._totals)

    def revoked(self) -> list[str]:
        """Return the ids of killed tasks, oldest first."""
        with self._lock:
            return list(self._revoked)
