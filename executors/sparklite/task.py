"""Runs one task in a worker: the last node's items go into a shuffle's output, or into the function of the result stage.

What cannot be read of other tasks' work is no exception of the user's: it ends the task as `TaskMissed`.
"""

import pickle
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from . import current
from .blocks import BlockLost, StoredBlock, TaskBlocks
from .broadcast import BroadcastValues
from .counters import Counters
from .measures import Measures
from .nodes import Leaf, Node, ShuffleRead
from .shuffle_data import FetchFailed, Segment
from .shuffle_read import read_shuffle
from .shuffle_write import write_shuffle
from .storage import Storage
from .task_context import TaskContext
from .task_data import StageCode, TaskDone, TaskMetrics, TaskMissed, TaskSpec


class Task:
    """One attempt at one partition of one stage, as nodes and functions see it."""

    def __init__(
        self,
        code: StageCode,
        spec: TaskSpec,
        blocks: TaskBlocks,
        storage: Storage,
        broadcasts: BroadcastValues | None = None,
        files_directory: Path | None = None,
        *,
        alone: bool = False,
        bare_bytes: int = 0,
    ) -> None:
        self.code: Final = code
        self.spec: Final = spec
        self.blocks: Final = blocks
        #: What this attempt has read and written so far.
        self.counters: Final = Counters()
        #: What `TaskContext.get` answers, once somebody has asked.
        self.context: TaskContext | None = None
        self.broadcasts: Final = broadcasts if broadcasts is not None else BroadcastValues()
        #: Where added files are.
        self.files_directory: Final = files_directory
        self._storage: Final = storage
        self._measures: Final = Measures(alone=alone, bare_bytes=bare_bytes)
        self._alone: Final = alone
        #: Additions to accumulators, by their numbers.
        self.accumulators: Final[dict[int, Any]] = {}
        self.cached: Final[dict[tuple[int, int], StoredBlock]] = {}
        self.uncached: Final[list[tuple[int, int]]] = []
        #: What persists partitions, and has to come to its end before the task does.
        self.keeping: Final[list[Iterator[Any]]] = []
        #: What could not be read, set where it is raised: a function of the user's that catches it must not hide it.
        self.fetch_failed: FetchFailed | None = None
        self._lost: tuple[StoredBlock, str] | None = None
        #: Why its own agent's store did not take what it made.
        self._refused: str | None = None
        #: Copies of broadcast values that it left in its own agent's store.
        self.copied: Final[dict[int, StoredBlock]] = {}

    def run(self) -> TaskDone | TaskMissed:
        """Do it.

        Raises:
            Exception: Whatever functions of the user raise.
        """
        with current.running(self, alone=self._alone):
            return self._run()

    def _run(self) -> TaskDone | TaskMissed:
        try:
            done = self._ran()
        except StopIteration as stop:
            if self._missed is None:
                raise RuntimeError(
                    f"Caught StopIteration thrown from user's code; failing the task: {stop!r}"
                ) from stop
        # What a function of the user's makes of it when it cannot read.
        except Exception:
            if self._missed is None:
                raise
        else:
            if self._missed is None:
                return done
        assert self._missed is not None, "asked just now"
        return self._missed

    @property
    def _missed(self) -> TaskMissed | None:
        """What could not be read, or left."""
        if self.fetch_failed is not None:
            return TaskMissed(self.fetch_failed.segment, None, self.fetch_failed.reason, self._metrics())
        if self._lost is not None:
            return TaskMissed(None, *self._lost, self._metrics())
        if self._refused is not None:
            return TaskMissed(None, None, self._refused, self._metrics())
        return None

    def _ran(self) -> TaskDone:
        items = self.code.node.iterator(self.spec.partition, self)
        if self.code.shuffle is not None:
            try:
                output = write_shuffle(items, self.code.shuffle, self)
            except BlockLost as refused:
                self._refused = str(refused)
                raise
            self._keep_the_rest()
            return self._done(None, output)
        assert self.code.result is not None, "a stage ends in a shuffle or in a result"
        value = self.code.result(self, items)
        self._keep_the_rest()
        return self._done(value, None)

    def _keep_the_rest(self) -> None:
        """Make the rest of persisted partitions of which not all was needed (`first`): they are kept whole, as Spark's are."""
        for each in self.keeping:
            deque(each, maxlen=0)

    def input_of(self, leaf: Leaf, partition: int) -> Any:
        """What the driver put there for a leaf's partition."""
        return self.spec.inputs[leaf.rdd_id, partition]

    def unpickled(self, data: bytes) -> Any:
        """An input that the driver pickled."""
        value: Any = pickle.loads(data)
        if isinstance(value, list):
            self.counters.items_in += len(value)
        return value

    def lose(self, block: StoredBlock, reason: str) -> None:
        """Note that something kept or broadcast cannot be read: the task ends by it, whatever functions of the user do then."""
        self._lost = (block, reason)

    def kept(self, node: Node, partition: int) -> Iterator[Any]:
        """The items of a persisted node."""
        return self._storage.kept(node, partition, self)

    def read_shuffle(self, node: ShuffleRead, segments: tuple[Segment, ...]) -> Iterator[Any]:
        """The pairs of a reduce partition, combined and in order as the node says."""
        return read_shuffle(node, segments, self)

    def _done(self, value: Any, output: Any) -> TaskDone:
        return TaskDone(
            value,
            output,
            self.accumulators,
            self.cached,
            tuple(self.uncached),
            self._metrics(),
            tuple(sorted(self.copied.items())),
        )

    def _metrics(self) -> TaskMetrics:
        return self._measures.metrics(self)
