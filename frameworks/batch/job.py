"""Jobs while they run: what a job asks for, and a slot for each of its tasks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mesolite.errors import ConfigError
from mesolite.ids import AgentId, TaskId, id_error
from mesolite.protocol import TaskState, TaskStatus

from .lifecycle import TaskPhase
from .result import JobSummary, TaskResult
from .retry import RetryPolicy
from .settings import MAX_TASKS_PER_JOB
from .task import TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """An array of equal tasks.

    Raises:
        ConfigError: The id cannot be one, or the count is out of range.
    """

    #: Never used before in this framework; tasks are called `<job_id>-<index>-<attempt>`.
    job_id: str
    task: TaskSpec
    count: int = 1
    name: str = "batch"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    #: Jobs that must succeed before any task of this one starts. If one does not, no task of this one ever starts.
    after: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_TASKS_PER_JOB:
            raise ConfigError(f"a job has 1 to {MAX_TASKS_PER_JOB} tasks, not {self.count}")
        longest = f"{self.job_id}-{self.count}-{self.retry.max_attempts + self.retry.max_losses}"
        if error := id_error(longest):
            raise ConfigError(f"job id {self.job_id!r}: with index and attempt, it {error}")


class TaskSlot:
    """One task of a job and its current attempt."""

    __slots__ = (
        "agent_id",
        "attempts",
        "deadline_ms",
        "failures",
        "index",
        "job",
        "losses",
        "phase",
        "result",
        "started_ms",
        "status",
        "task_id",
    )

    def __init__(self, job: "Job", index: int) -> None:
        self.job = job
        self.index = index
        self.phase = TaskPhase.BLOCKED
        #: Launched so far; the current attempt's number.
        self.attempts = 0
        self.failures = 0
        self.losses = 0
        #: Of the current attempt, or of the last one; None before the first.
        self.task_id: TaskId | None = None
        self.agent_id: AgentId | None = None
        #: When the current attempt was launched, then when it was first seen running.
        self.started_ms: int | None = None
        #: The newest word that said more than that it lives.
        self.status: TaskStatus | None = None
        #: When WAITING or UNREACHABLE ends; tells a timer that is still meant from one that is not.
        self.deadline_ms: int | None = None
        #: Found with the event being applied, until it is remembered.
        self.result: TaskResult | None = None


class Job:
    """A job that has not ended."""

    def __init__(self, spec: JobSpec, now_ms: int) -> None:
        self.spec = spec
        self.template = spec.task.template(spec.name)
        self.slots = [TaskSlot(self, index) for index in range(spec.count)]
        self.submitted_ms = now_ms
        #: The user had it killed: nothing is tried again.
        self.cancelled = False
        #: Jobs that have not succeeded yet and must.
        self.blocked_by: set[str] = set()
        self.attempts = 0
        self.unfinished = spec.count
        #: Final states so far.
        self.states: dict[TaskState, int] = {}

    def own_environment(self, slot: TaskSlot) -> dict[str, str]:
        """The variables that tell a task which one it is."""
        return {
            "MESOLITE_JOB": self.spec.job_id,
            "MESOLITE_INDEX": str(slot.index),
            "MESOLITE_COUNT": str(self.spec.count),
            "MESOLITE_ATTEMPT": str(slot.attempts),
        }

    def summary(self, now_ms: int) -> JobSummary:
        """Sum up a job whose tasks have all ended."""
        return JobSummary(
            job_id=self.spec.job_id,
            name=self.spec.name,
            count=self.spec.count,
            states=dict(self.states),
            attempts=self.attempts,
            submitted_ms=self.submitted_ms,
            finished_ms=now_ms,
        )
