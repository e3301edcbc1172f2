"""What happens in a context, for whoever shows it: progress bars, the job report, the status tracker, Flower.

Listeners are told on the scheduler's thread, in order, and must return soon. What they raise is logged and goes no further.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from mesolite.executors.sparklite.task_data import TaskMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBegan:
    """A job was submitted. `at_ms` is the driver's wall clock, here as everywhere below."""

    at_ms: int
    job_id: int
    #: The action and where it was called: `collect at app.py:12`.
    name: str
    group: str | None
    description: str | None
    #: Result stage last.
    stage_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBegan:
    """A stage, or another attempt at one, begins to run tasks."""

    at_ms: int
    job_id: int
    stage_id: int
    attempt: int
    name: str
    tasks: int
    #: How its result came about, RDD by RDD: what `toDebugString` shows.
    rdds: tuple[str, ...] = ()
    #: Stages whose shuffles it reads.
    parents: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted:
    """A task was sent to an executor."""

    at_ms: int
    stage_id: int
    stage_attempt: int
    task_id: int
    partition: int
    attempt: int
    executor_id: str
    agent_id: str
    host: str
    speculative: bool
    local: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFinished:
    """A task ended: `outcome` is done, failed, missed, lost or killed."""

    at_ms: int
    stage_id: int
    task_id: int
    partition: int
    outcome: str
    #: Empty for what is done.
    reason: str
    metrics: TaskMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFinished:
    """A stage ended; `reason` is empty where all went well."""

    at_ms: int
    stage_id: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageWasSkipped:
    """A job found a stage's outputs there."""

    at_ms: int
    job_id: int
    stage_id: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFinished:
    """A job ended; `error` is empty where it succeeded."""

    at_ms: int
    job_id: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSeen:
    """An executor has so many workers; 0: it is over."""

    at_ms: int
    executor_id: str
    agent_id: str
    host: str
    workers: int


SparkEvent: TypeAlias = (
    JobBegan | StageBegan | TaskStarted | TaskFinished | StageFinished | StageWasSkipped | JobFinished | ExecutorSeen
)


class SparkListener(Protocol):
    """Whoever wants to know."""

    def heard(self, event: SparkEvent) -> None:
        """Something happened."""
        ...

    def close(self) -> None:
        """The context was stopped."""
        ...
