"""What the DAG scheduler wants done, in this order."""

from dataclasses import dataclass
from typing import TypeAlias

from ..errors import JobFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTask:
    """Send a task to an executor. Ids are never used again."""

    task_id: int
    stage_id: int
    #: How often this partition of the stage was launched before.
    attempt: int
    partition: int
    executor_id: str
    #: A second copy of one that is slow.
    speculative: bool = False
    #: It was launched where its input is, or it has no such place.
    local: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTask:
    """End a task that nobody needs any more; its end is ignored when it comes."""

    task_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptResult:
    """The task's value is the job's result number `index` (place in `JobSubmitted.partitions`); its accumulators count."""

    job_id: int
    index: int
    task_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptOutput:
    """This task's map output counts, and so do its accumulators."""

    shuffle_id: int
    partition: int
    task_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DropResult:
    """What this task left is not needed: another copy was first, or nobody wants it any more."""

    task_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted:
    """A stage begins, or begins again (`attempt` > 0) because outputs of it were lost."""

    stage_id: int
    job_id: int
    attempt: int
    #: How many tasks it will run.
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEnded:
    """All its tasks are through, or its jobs have ended without it (`reason` says how)."""

    stage_id: int
    attempt: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSkipped:
    """A job did not have to run a stage: its outputs are there."""

    stage_id: int
    job_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded:
    """A job is over: all results were accepted, or `error` says why not."""

    job_id: int
    error: JobFailed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantWorkers:
    """So many tasks run or could run now; sent when it changed."""

    tasks: int


DagEffect: TypeAlias = (
    LaunchTask
    | CancelTask
    | AcceptResult
    | AcceptOutput
    | DropResult
    | StageStarted
    | StageEnded
    | StageSkipped
    | JobEnded
    | WantWorkers
)
