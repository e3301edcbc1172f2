"""What the DAG scheduler keeps of jobs, stages and tasks.

A `Stage` is known as long as its shuffle can be named. A `Run` is one attempt at making what is missing of it, and is there only
while some job needs that. Within a run every slot (a map partition, or an index of the job's results) is in one of these states:

    waiting --launched--> running --succeeded--> done
       ^                     |                     |
       +----failed, lost-----+     (map output) lost again
       +-------------------------------------------+
"""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from mesolite.executors.sparklite.shuffle_data import MapOutput

from .events import StageSpec
from .waiting import Waiting

#: How much the latest task's time changes what is taken for the stage's usual one.
LATEST_SHARE = 0.25


@dataclass(slots=True, eq=False)
class Stage:
    """A stage, through all its runs."""

    spec: StageSpec
    #: How many runs there were.
    attempts: int = 0
    #: By slot: how often it was launched. Slots that never were are not in it.
    launches: dict[int, int] = field(default_factory=dict[int, int])
    #: By slot of a map stage: the task whose output counted last.
    made_by: dict[int, int] = field(default_factory=dict[int, int])


@dataclass(slots=True, eq=False)
class Launched:
    """A task that was sent and has not ended."""

    task_id: int
    run: "Run"
    slot: int
    executor_id: str
    agent_id: str
    #: By which it counts in fair sharing.
    pool: str
    launched_ms: int
    speculative: bool
    #: When a worker began it; None: not known to have begun.
    began_ms: int | None = None
    #: False once it was cancelled: its end changes nothing but its executor's room.
    wanted: bool = True


@dataclass(slots=True, eq=False)
class Run:
    """One attempt at a stage."""

    stage: Stage
    attempt: int
    #: How many slots there are. A map stage has one for each partition, whether or not it has to be made.
    total: int
    #: How many of them are not done.
    left: int
    #: How far from the result of the job that needed it first.
    depth: int
    #: Jobs that need it.
    jobs: set[int]
    #: Of a result stage: the partition of each slot.
    partitions: Sequence[int]
    #: By what they read: slots that wait. Empty ones stay.
    groups: dict[tuple[int, ...], Waiting] = field(default_factory=dict[tuple[int, ...], Waiting])
    #: The group of each slot that waits.
    waiting: dict[int, Waiting] = field(default_factory=dict[int, Waiting])
    #: Groups with slots whose shuffles are all complete.
    ready: list[Waiting] = field(default_factory=list[Waiting])
    #: How many slots these have, and copies that are wanted.
    runnable: int = 0
    #: By slot: tasks that run, the first copy first. Cancelled ones are not in it.
    running: dict[int, list[Launched]] = field(default_factory=dict[int, list[Launched]])
    #: Slots that are so slow that a second copy is wanted.
    slow: dict[int, None] = field(default_factory=dict[int, None])
    #: Of a barrier stage: what went through, until all are through.
    held: dict[int, tuple[Launched, MapOutput | None]] = field(
        default_factory=dict[int, tuple[Launched, MapOutput | None]]
    )
    #: Whether `StageStarted` was sent.
    started: bool = False
    #: Weighted (`faults.py`) failures of each slot.
    failures: dict[int, int] = field(default_factory=dict[int, int])
    #: How often each slot was tried again for no fault of its own.
    refusals: dict[int, int] = field(default_factory=dict[int, int])
    #: How often each slot failed on each executor.
    failures_at: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    #: Executors that failed the same slot too often: no more of this stage where another is there.
    excluded: set[str] = field(default_factory=set[str])
    #: Rounds in which it could not read a shuffle, without a success in between (`faults.count_miss`).
    misses: int = 0
    #: Outputs of tasks with a lower number were there when these rounds began.
    missed_since: int = 0
    #: Tasks with a lower number were launched before the last round, and say nothing new.
    missed_before: int = 0
    #: When a task was launched at its place, or the stage could first have.
    local_ms: int = 0
    #: Of a barrier stage: since when the cluster is too small for it.
    too_small_ms: int | None = None
    #: How long a task takes from launch to success, the latest counting most; None: not known.
    usual_ms: float | None = None
    #: With speculation: how long tasks ran that went through, in order.
    took_ms: list[int] = field(default_factory=list[int])

    @property
    def stage_id(self) -> int:
        """The stage's id."""
        return self.stage.spec.stage_id

    @property
    def is_barrier(self) -> bool:
        """Whether all tasks run together or none."""
        return self.stage.spec.barrier

    @property
    def shuffle_id(self) -> int | None:
        """What it makes; None: a job's results."""
        return self.stage.spec.shuffle_id

    def partition(self, slot: int) -> int:
        """The partition that a slot is about."""
        return self.partitions[slot]

    def note_time(self, launched: Launched, now_ms: int, *, keep: bool) -> None:
        """A task went through."""
        taken = now_ms - launched.launched_ms
        self.usual_ms = taken if self.usual_ms is None else self.usual_ms + LATEST_SHARE * (taken - self.usual_ms)
        if keep:
            began = launched.launched_ms if launched.began_ms is None else launched.began_ms
            insort(self.took_ms, now_ms - began)


@dataclass(slots=True, eq=False)
class Job:
    """A job that has not ended."""

    job_id: int
    pool: str
    #: Stages that run, or wait, for it.
    stage_ids: set[int]
    #: Shuffles that it may read: not forgotten before it ends.
    shuffle_ids: frozenset[int]
