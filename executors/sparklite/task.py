"""Runs one task in a worker: the last node's items go into a shuffle's output, or into the function of the result stage.

What cannot be read of other tasks' work is no exception of the user's: it ends the task as `TaskMissed`.
"""

import pickle
from collections.abc import Iterator
from typing import Any, Final

from . import current
from .blocks import BlockLost, StoredBlock, TaskBlocks
from .counters import Counters
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
        self, code: StageCode, spec: TaskSpec, blocks: TaskBlocks, storage: Storage, *, alone: bool = False
    ) -> None:
        self.code: Final = code
        self.spec: Final = spec
        self.blocks: Final = blocks
        #: What this attempt has read and written so far.
        self.counters: Final = Counters()
        #: What `TaskContext.get` answers, once somebody has asked.
        self.context: TaskContext | None = None
        self._storage: Final = storage
        self._alone: Final = alone
        #: Additions to accumulators.
        self.accumulators: Final[dict[int, Any]] = {}
        self.cached: Final[dict[tuple[int, int], StoredBlock]] = {}
        self.uncached: Final[list[tuple[int, int]]] = []
        #: What could not be read, set where it is raised: a function of the user's that catches it must not hide it.
        self.fetch_failed: FetchFailed | None = None

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
        except Exception:
            if self.fetch_failed is None:
                raise
        else:
            if self.fetch_failed is None:
                return done
        return TaskMissed(self.fetch_failed.segment, None, self.fetch_failed.reason, TaskMetrics())

    def _ran(self) -> TaskDone:
        items = self.code.node.iterator(self.spec.partition, self)
        if self.code.shuffle is not None:
            return self._done(None, write_shuffle(items, self.code.shuffle, self))
        assert self.code.result is not None, "a stage ends in a shuffle or in a result"
        return self._done(self.code.result(self, items), None)

    def input_of(self, leaf: Leaf, partition: int) -> Any:
        """What the driver put there for a leaf's partition."""
        return self.spec.inputs[leaf.rdd_id, partition]

    def unpickled(self, data: bytes) -> Any:
        """An input that the driver pickled."""
        return pickle.loads(data)

    def kept(self, node: Node, partition: int) -> Iterator[Any]:
        """The items of a persisted node."""
        return self._storage.kept(node, partition, self)

    def read_shuffle(self, node: ShuffleRead, segments: tuple[Segment, ...]) -> Iterator[Any]:
        """The pairs of a reduce partition, combined and in order as the node says."""
        return read_shuffle(node, segments, self)

    def _done(self, value: Any, output: Any) -> TaskDone:
        return TaskDone(value, output, self.accumulators, self.cached, tuple(self.uncached), TaskMetrics())


__all__ = ["BlockLost", "Task"]
