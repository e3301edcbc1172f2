"""A task, and how it ended, as they travel between driver and worker. Plain values, and the bytes of what users wrote."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from .blocks import StoredBlock
from .shuffle_data import MapOutput, Segment, ShuffleSpec

if TYPE_CHECKING:
    from .nodes import Node
    from .task import Task


@dataclass(frozen=True, slots=True)
class StageCode:
    """What all tasks of one stage have in common; pickled once, kept by workers.

    Exactly one of `shuffle` and `result` is there.
    """

    #: The last RDD of the stage.
    node: "Node"
    #: A stage before a shuffle writes its partition by it.
    shuffle: ShuffleSpec | None = None
    #: A stage at the end returns this of each partition: (task, items) -> value.
    result: Callable[["Task", Iterator[Any]], Any] | None = None


class BarrierPlace(NamedTuple):
    """Where a task of a barrier stage runs."""

    task_id: int
    #: HOST:PORT, for people and for `BarrierTaskContext.getTaskInfos`.
    address: str
    agent_id: str
    #: A block's address at that agent, with `{}` for the block's name: `http://HOST:PORT/blocks/{}?token=TOKEN`.
    url: str


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task of a stage."""

    #: Of letters, digits, `-` and `_`: it is in names of blocks.
    app_id: str
    job_id: int
    stage_id: int
    #: Counts from 0 within the stage; two attempts at the same partition differ in it.
    attempt: int
    #: Unique in the application.
    task_id: int
    partition: int
    #: What leaves of the stage need to make their partitions: by rdd_id and partition (`Leaf`).
    inputs: dict[tuple[int, int], Any]
    #: Partitions that some agent keeps: by rdd_id and partition.
    cached: dict[tuple[int, int], StoredBlock] = field(default_factory=dict[tuple[int, int], StoredBlock])
    #: Broadcast values by their number: only those that were lost and put anew, and so lie elsewhere than their pickles say.
    broadcasts: dict[int, StoredBlock] = field(default_factory=dict[int, StoredBlock])
    #: By name; the name of a directory, which is a tar archive, ends in `/`.
    files: dict[str, StoredBlock] = field(default_factory=dict[str, StoredBlock])
    #: Modules to be put on the path (`addPyFile`): names in `files`.
    py_files: tuple[str, ...] = ()
    #: SparkContext.setLocalProperty.
    properties: dict[str, str] = field(default_factory=dict[str, str])
    #: What this task may hold in memory before it spills.
    memory_bytes: int = 512 * 1024 * 1024
    #: What a worker may hold in all before it is ended; 0: not known.
    memory_limit_bytes: int = 0
    #: Persisted partitions are compressed (`spark.rdd.compress`).
    compress_kept: bool = False
    #: RDDs that were unpersisted lately, and broadcast values that were destroyed or unpersisted: workers forget them, once. Each
    #: with its place in the order in which that happened.
    dropped_rdds: tuple[tuple[int, int], ...] = ()
    dropped_broadcasts: tuple[tuple[int, int], ...] = ()
    #: All tasks of this stage in order of partitions where they run together (`RDD.barrier`).
    barrier: tuple[BarrierPlace, ...] = ()


class TaskMetrics(NamedTuple):
    """What one attempt did; all counts are of this attempt."""

    host: str = ""
    agent_id: str = ""
    #: Of the worker's clock, for people; durations are right, moments may be off between hosts.
    began_ms: int = 0
    run_ms: float = 0.0
    #: Time in which it waited for other agents' blocks.
    fetch_wait_ms: float = 0.0
    items_in: int = 0
    shuffle_read_bytes: int = 0
    shuffle_read_remote_bytes: int = 0
    shuffle_write_bytes: int = 0
    shuffle_write_items: int = 0
    spilled_bytes: int = 0
    result_bytes: int = 0
    peak_memory_bytes: int = 0
    memory_limit_bytes: int = 0
    #: Whether the last node's partition was read from the cache.
    cache_hits: int = 0


class TaskDone(NamedTuple):
    """A task that went through."""

    #: Of a result stage.
    value: Any
    #: Of a stage before a shuffle.
    output: MapOutput | None
    #: Additions to accumulators by their number.
    accumulators: dict[int, Any]
    #: Partitions that are kept now.
    cached: dict[tuple[int, int], StoredBlock]
    #: Partitions that were said to be kept, and are not.
    uncached: tuple[tuple[int, int], ...]
    metrics: TaskMetrics
    #: Copies of broadcast values that this worker left in its own agent's store, by number.
    copied: tuple[tuple[int, StoredBlock], ...] = ()


class TaskMissed(NamedTuple):
    """A task that could not read what others had left, or leave what it made: not its own fault."""

    #: The segment of a map output, or else the broadcast or file that it did not get. Neither: its own agent's store took
    #: nothing.
    segment: Segment | None
    lost: StoredBlock | None
    reason: str
    metrics: TaskMetrics
