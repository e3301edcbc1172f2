"""What Flower is told about tasks: plain values from the agent's shell, and the ledger that answers inspections.

Celery knows workers, tasks and results; here an agent plays the worker, a Mesolite task the task, its exit code the
result. The ledger keeps only what Flower's pages ask for and is bounded in every part; it decides nothing about tasks.
Shared by three threads (agent shell, event publisher, control mailbox), hence its lock.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from mesolite.ids import FrameworkId, TaskId
from mesolite.protocol import CommandInfo, FrameworkInfo, TaskInfo, TaskState, TaskStatus
from mesolite.resources import Resource

#: Live tasks remembered for inspection. An agent rarely runs hundreds; beyond this the oldest is no longer listed.
MAX_LIVE_TASKS: Final = 10_000

#: Task names counted apart; further ones count as OTHER_NAMES. Flower prints one row for each.
MAX_COUNTED_NAMES: Final = 500
OTHER_NAMES: Final = "(other)"

#: Killed task ids remembered for the "revoked" page.
MAX_REVOKED: Final = 1000

#: Characters of a command that travel to Flower, which shows it in one table cell and keeps thousands of them.
MAX_COMMAND_CHARS: Final = 512

Outcome: TypeAlias = Literal["succeeded", "failed", "killed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task as Flower shows it."""

    #: Celery's uuid.
    task_id: TaskId
    framework_id: FrameworkId
    framework_name: str
    #: The task's name or, without one, its command's first word.
    name: str
    #: The whole command, shortened to MAX_COMMAND_CHARS.
    command: str
    #: Scalar amounts by name, in thousandths.
    resources_milli: tuple[tuple[str, int], ...] = ()
    image: str | None = None

    @classmethod
    def of(cls, framework: FrameworkInfo, task: TaskInfo) -> "TaskView":
        """Describe a task as its framework launched it."""
        owned = task.command or (task.executor.command if task.executor is not None else None)
        command = _command_text(owned)
        return cls(
            task_id=task.task_id,
            framework_id=framework.framework_id,
            framework_name=framework.name,
            name=task.name or _first_word(command) or task.task_id,
            command=command,
            resources_milli=_scalars(task.resources),
            image=task.container.image if task.container is not None else None,
        )

    def kwargs(self) -> dict[str, str]:
        """What Flower shows as keyword arguments: resources, framework and image, readable."""
        shown = {name: f"{amount / 1000:g}" for name, amount in self.resources_milli}
        shown["framework"] = self.framework_name or self.framework_id
        if self.image:
            shown["image"] = self.image
        return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnding:
    """How a task ended."""

    task_id: TaskId
    outcome: Outcome
    exit_code: int | None = None
    #: Mesos's reason without its prefix: "CONTAINER_LIMITATION_MEMORY".
    reason: str = ""
    message: str = ""

    @classmethod
    def of(cls, status: TaskStatus) -> "TaskEnding":
        """Translate a terminal status; every terminal state but FINISHED and KILLED counts as failed."""
        outcomes: dict[TaskState, Outcome] = {TaskState.FINISHED: "succeeded", TaskState.KILLED: "killed"}
        container = status.container_status
        return cls(
            task_id=status.task_id,
            outcome=outcomes.get(status.state, "failed"),
            exit_code=container.exit_code if container is not None else None,
            reason=status.reason.value.removeprefix("REASON_") if status.reason is not None else "",
            message=status.message,
        )

    def exception(self) -> str:
        """What Flower shows where Celery shows the exception."""
        parts = [part for part in (self.reason, self.message) if part]
        if not parts:
            return f"exit code {self.exit_code}" if self.exit_code is not None else "failed"
        return ": ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """The agent as Flower's worker page shows it."""

    hostname: str
    #: "docker 20.10, hard CPU and memory limits".
    containerizer: str
    #: Total amounts by name, in thousandths.
    resources_milli: tuple[tuple[str, int], ...] = ()
    version: str = ""
    #: The agent's file server.
    url: str = ""

    def max_concurrency(self) -> int:
        """Whole CPUs, at least one: how many tasks of one CPU fit at once."""
        return max(1, dict(self.resources_milli).get("cpus", 1000) // 1000)


@dataclass(slots=True, kw_only=True)
class LiveTask:
    """One task between its arrival and its end."""

    view: TaskView
    #: Wall clock, seconds since 1970, as Celery's timestamps are.
    received_s: float
    #: None until it runs.
    started_s: float | None = None
    #: Its events are sent; False where the sampler left it out.
    shown: bool = True


class TaskLedger:
    """Live tasks, counts by name and killed ids of one agent. Every method may be called from any thread."""

    def __init__(self, wall_clock_s: Callable[[], float]) -> None:
        self._wall_clock_s = wall_clock_s
        self._lock = threading.Lock()
        #: By task id, oldest first.
        self._live: OrderedDict[str, LiveTask] = OrderedDict()
        self._totals: Counter[str] = Counter()
        self._revoked: OrderedDict[str, None] = OrderedDict()

    def received(self, view: TaskView, *, shown: bool) -> LiveTask | None:
        """Add a task; None where it is listed already."""
        with self._lock:
            if view.task_id in self._live:
                return None
            task = LiveTask(view=view, received_s=self._wall_clock_s(), shown=shown)
            self._live[view.task_id] = task
            if len(self._live) > MAX_LIVE_TASKS:
                self._live.popitem(last=False)
            counted = view.name in self._totals or len(self._totals) < MAX_COUNTED_NAMES
            self._totals[view.name if counted else OTHER_NAMES] += 1
            return task

    def started(self, task_id: str) -> LiveTask | None:
        """Mark a task as running; None where it is unknown or runs already."""
        with self._lock:
            task = self._live.get(task_id)
            if task is None or task.started_s is not None:
                return None
            task.started_s = self._wall_clock_s()
            return task

    def ended(self, ending: TaskEnding) -> LiveTask | None:
        """Take a task off; None where it is unknown or ended already."""
        with self._lock:
            if ending.outcome == "killed":
                self._revoked[ending.task_id] = None
                if len(self._revoked) > MAX_REVOKED:
                    self._revoked.popitem(last=False)
            return self._live.pop(ending.task_id, None)

    def is_waiting(self, task_id: str) -> bool:
        """Say whether a task has arrived and does not run yet."""
        with self._lock:
            task = self._live.get(task_id)
            return task is not None and task.started_s is None

    def live(self, *, running: bool) -> list[LiveTask]:
        """Return the tasks that run, or those that wait to, oldest first."""
        with self._lock:
            return [task for task in self._live.values() if (task.started_s is not None) == running]

    def running_count(self) -> int:
        """Count the tasks that run."""
        with self._lock:
            return sum(task.started_s is not None for task in self._live.values())

    def totals(self) -> dict[str, int]:
        """Return how many tasks of each name have arrived."""
        with self._lock:
            return dict(self._totals)

    def revoked(self) -> list[str]:
        """Return the ids of killed tasks, oldest first."""
        with self._lock:
            return list(self._revoked)


class Sampler:
    """A token bucket over tasks: above its rate, new tasks are not shown in Flower (a failed one still is)."""

    def __init__(self, tasks_per_s: float, clock_s: Callable[[], float]) -> None:
        assert tasks_per_s > 0, "a sampler that shows nothing is an absent presence"
        self._rate_per_s = tasks_per_s
        self._clock_s = clock_s
        #: One second's worth may come at once.
        self._tokens = tasks_per_s
        self._filled_s = clock_s()

    def admit(self) -> bool:
        """Say whether one more task is shown. Called by the agent's thread only."""
        now_s = self._clock_s()
        self._tokens = min(self._rate_per_s, self._tokens + (now_s - self._filled_s) * self._rate_per_s)
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _command_text(command: CommandInfo | None) -> str:
    if command is None:
        return ""
    words = [command.value or ""] if command.shell else [*command.arguments] or [command.value or ""]
    text = " ".join(words).strip()
    return text if len(text) <= MAX_COMMAND_CHARS else text[: MAX_COMMAND_CHARS - 1] + "…"


def _first_word(command: str) -> str:
    words = command.split(maxsplit=1)
    return words[0].rsplit("/", maxsplit=1)[-1] if words else ""


def _scalars(resources: tuple[Resource, ...]) -> tuple[tuple[str, int], ...]:
    sums: Counter[str] = Counter()
    for resource in resources:
        if resource.scalar is not None:
            sums[resource.name] += resource.scalar
    return tuple(sorted(sums.items()))
