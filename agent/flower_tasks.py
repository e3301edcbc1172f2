"""What Flower is told about tasks, as plain values made from the agent's own.

Celery knows workers, tasks and results; here an agent plays the worker, a Mesolite task the task, its exit code the result.

Celery's uuids belong to one task in the world, a Mesos task id to one task of its framework. So what Flower shows as the
uuid is "framework id/task id": neither half can hold a slash (`mesolite.ids`), and Flower's routes take one.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from mesolite.executors.python.tasks import SLOT_DATA
from mesolite.ids import FrameworkId, TaskId
from mesolite.protocol import CommandInfo, FrameworkInfo, TaskInfo, TaskState, TaskStatus
from mesolite.resources import Resource
from mesolite.transport.celery_events import TOLD_ELSEWHERE

#: Characters of a command that travel to Flower, which shows it in one table cell and keeps thousands of them.
MAX_COMMAND_CHARS: Final = 512

Outcome: TypeAlias = Literal["succeeded", "failed", "killed"]


def shown_id(framework_id: FrameworkId, task_id: TaskId) -> str:
    """Return what Flower shows as a task's uuid."""
    return f"{framework_id}/{task_id}"


def parse_shown_id(text: str) -> tuple[FrameworkId | None, TaskId]:
    """Take a shown id apart. What has no slash is a task's own id, of whichever framework: people type those."""
    framework_id, has_framework, task_id = text.rpartition("/")
    return FrameworkId(framework_id) if has_framework else None, TaskId(task_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task as Flower shows it."""

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
    #: A pool's worker, which runs while it waits for calls too: those count as running, not this.
    is_slot: bool = False
    #: Its framework tells of it, under an id of its own: shown from here it would be there twice. It counts all the same.
    is_told_elsewhere: bool = False

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
            is_slot=task.executor is not None and task.data == SLOT_DATA,
            is_told_elsewhere=task.executor is not None and task.executor.labels.items() >= TOLD_ELSEWHERE.items(),
        )

    @property
    def shown_id(self) -> str:
        """Celery's uuid."""
        return shown_id(self.framework_id, self.task_id)

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

    outcome: Outcome
    #: Wall clock, seconds since 1970.
    ended_s: float
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
            outcome=outcomes.get(status.state, "failed"),
            ended_s=status.timestamp_ms / 1000,
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
    sums: dict[str, int] = {}
    for resource in resources:
        if resource.scalar is not None:
            sums[resource.name] = sums.get(resource.name, 0) + resource.scalar
    return tuple(sorted(sums.items()))
