"""What the DAG scheduler is told."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.executors.sparklite.shuffle_data import MapOutput

from ..errors import TaskError


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """A stage as it was planned. Stages before a shuffle are known by it, and are shared by all jobs that read it."""

    stage_id: int
    #: For people: `reduceByKey at app.py:12`.
    name: str
    #: How many partitions its RDD has: a map stage makes an output of each.
    partitions: int
    #: What a map stage makes; None for the stage of a job's results.
    shuffle_id: int | None
    #: All its tasks run at the same time, or none.
    barrier: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmitted:
    """Somebody wants the results of these partitions. `stages` has every stage that may have to run, in any order."""

    now_ms: int
    job_id: int
    #: The stage that returns results; its tasks are one for each of `partitions`, in that order.
    result_stage: StageSpec
    partitions: tuple[int, ...]
    #: Stages before shuffles that the job may need, directly or not.
    map_stages: tuple[StageSpec, ...]
    #: Fair sharing is between pools (`spark.scheduler.pool`); within one pool the older job goes first.
    pool: str = "default"
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsCancelled:
    """These jobs are not wanted any more; unknown ones are ignored."""

    now_ms: int
    job_ids: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorChanged:
    """An executor is there, or has another number of workers than before."""

    now_ms: int
    executor_id: str
    agent_id: str
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorOver:
    """An executor is gone. What it ran comes as `TaskLost` for each; what it left in its agent's store stays."""

    now_ms: int
    executor_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLost:
    """An agent is gone for good, with all that was in its store."""

    now_ms: int
    agent_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReturned:
    """An agent that was given up is there again, and executors may be there; what was in its store stays struck out."""

    now_ms: int
    agent_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBegan:
    """A worker has begun it (what is short is never reported)."""

    now_ms: int
    task_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSucceeded:
    """It went through. Its value is with the shell until `AcceptResult` or `DropResult`."""

    now_ms: int
    task_id: int
    #: Of a map stage.
    output: MapOutput | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed:
    """The user's function raised, its worker died, it was out of memory or time: counts towards `max_failures`."""

    now_ms: int
    task_id: int
    error: TaskError
    #: Another try makes no sense: what it returned is too large or cannot be pickled.
    fatal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLost:
    """Its executor is over, or it was refused. `begun` False: it certainly did not run, and nothing is counted."""

    now_ms: int
    task_id: int
    begun: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchMissed:
    """It could not read the output of a map task: that has to be made again before this is tried again."""

    now_ms: int
    task_id: int
    shuffle_id: int
    map_partition: int
    #: The block that was asked for: an output that was made anew meanwhile is not it.
    block_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputMissed:
    """It could not read something kept or broadcast. The shell has forgotten or renewed it; it is tried again, and counted."""

    now_ms: int
    task_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShufflesForgotten:
    """Nobody can name these shuffles any more: their outputs are dropped from the books."""

    now_ms: int
    shuffle_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRefused:
    """No executor can be had, now or later: all jobs fail with this."""

    now_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time has passed (`DagCore.next_deadline_ms`)."""

    now_ms: int


DagEvent: TypeAlias = (
    JobSubmitted
    | JobsCancelled
    | ExecutorChanged
    | ExecutorOver
    | AgentLost
    | AgentReturned
    | TaskBegan
    | TaskSucceeded
    | TaskFailed
    | TaskLost
    | FetchMissed
    | InputMissed
    | ShufflesForgotten
    | ClusterRefused
    | Ticked
)
