"""Partitions that are kept (`RDD.persist`): in the agent's block store, and as objects in this worker where that is safe.

A partition is computed once. While it is, its consumer gets the items, and frames of them go to a block (kept_partition.py). Who
asks again reads, in this order: objects of this worker, the block (of the own agent through its socket, of others over HTTP). If
the block is gone the partition is computed anew, where the task has been sent what that needs; otherwise the task ends, and the
driver sends it again with all it needs.

Objects are held for levels with `useMemory`, within a share of the worker's memory, and only where nothing in them can be
changed: a function that changes a list which it was given would change it for all jobs that follow, which it does not where each
job unpickles its own. They count for the block that they are a copy of, so what was dropped or made anew is never mixed up.

`StorageLevel.replication` is not followed: what is lost with an agent is computed again.
"""

import sys
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .blocks import BlockLost, StoredBlock
from .frames import Damaged, decode_frames
from .immutable import deep_size, is_immutable
from .kept_partition import PartitionWriter
from .nodes import Leaf, Node

if TYPE_CHECKING:
    from .task import Task
    from .task_data import TaskSpec

#: The share of what a worker may hold; as Spark's spark.memory.fraction times spark.memory.storageFraction.
OBJECTS_SHARE: Final = 0.3
#: Where that is not known, of what a task may hold before it spills.
_SHARE_OF_BUDGET: Final = 0.5
#: So many items of a batch are looked at to say how large all are.
_SAMPLE_ITEMS: Final = 64

#: An RDD's number, and the partition's.
Key = tuple[int, int]


class _Held(NamedTuple):
    """A partition as objects."""

    block_id: str
    items: list[Any]
    size_bytes: int


class Storage:
    """What one worker holds, for all tasks that run in it. Used by one task at a time."""

    def __init__(self) -> None:
        self._held: Final[OrderedDict[Key, _Held]] = OrderedDict()
        self._bytes = 0
        self._limit_bytes = 0
        #: The last place in the order of dropped RDDs that was heard of.
        self._heard = 0

    @property
    def held_bytes(self) -> int:
        """About how much memory the objects take."""
        return self._bytes

    def begin(self, spec: "TaskSpec") -> None:
        """Forget what nobody wants any more. Called before each task."""
        self._limit_bytes = objects_bytes(spec)
        for place, rdd_id in spec.dropped_rdds:
            if place > self._heard:
                self._heard = place
                for key in [key for key in self._held if key[0] == rdd_id]:
                    self._forget(key)
        self._make_room(0)

    def kept(self, node: Node, partition: int, task: "Task") -> Iterator[Any]:
        """Return the items of a persisted node's partition: kept ones, or computed and kept.

        Raises:
            BlockLost: What is kept cannot be read, and nothing else is there; the task was told.
        """
        key = (node.rdd_id, partition)
        block = task.cached.get(key) or task.spec.cached.get(key)
        if block is None:
            return self._compute(node, partition, task)
        held = self._held.get(key)
        if held is not None and held.block_id == block.block_id:
            self._held.move_to_end(key)
            task.counters.cache_hits += 1
            task.counters.items_in += len(held.items)
            return iter(held.items)
        frames = (columns.keys for columns in decode_frames(task.blocks.stream(block)))
        try:
            first = next(frames, ())
        except (BlockLost, Damaged) as lost:
            task.uncached.append(key)
            if not _can_compute(node, partition, task):
                task.lose(block, str(lost))
                raise
            return self._compute(node, partition, task)
        task.counters.cache_hits += 1
        return chain.from_iterable(self._read(node, key, block, chain((first,), frames), task))

    def _read(
        self, node: Node, key: Key, block: StoredBlock, frames: Iterable[Sequence[Any]], task: "Task"
    ) -> Iterator[Sequence[Any]]:
        shelf = _Shelf(self._limit_bytes if _in_memory(node) else 0)
        try:
            for items in frames:
                task.counters.items_in += len(items)
                shelf.add(items)
                yield items
        except (BlockLost, Damaged) as lost:
            # Its consumer has had a part already: only a new attempt gives each item once.
            task.lose(block, str(lost))
            raise
        self._hold(key, block, shelf)

    def _compute(self, node: Node, partition: int, task: "Task") -> Iterator[Any]:
        keeping = self._keep(node, partition, task)
        # Whoever takes only some of the items leaves the rest for the end of the task.
        task.keeping.append(keeping)
        return chain.from_iterable(keeping)

    def _keep(self, node: Node, partition: int, task: "Task") -> Generator[Sequence[Any]]:
        key = (node.rdd_id, partition)
        shelf = _Shelf(self._limit_bytes if _in_memory(node) else 0)
        writer = PartitionWriter(compress=task.spec.compress_kept)
        try:
            for items in writer.batches(node.compute(partition, task)):
                shelf.add(items)
                yield items
            name = f"rdd-{task.spec.app_id}-{node.rdd_id}-{partition}-{task.spec.task_id}"
            block = task.cached[key] = writer.store(name, task.blocks)
            self._hold(key, block, shelf)
        except BlockLost as refused:
            # Not the task's trouble: it has its items, and who asks again computes them again.
            sys.stderr.write(f"sparklite: partition {partition} of RDD {node.rdd_id} is not kept: {refused}\n")
        finally:
            writer.close()

    def _hold(self, key: Key, block: StoredBlock, shelf: "_Shelf") -> None:
        if shelf.items is None or shelf.size_bytes > self._limit_bytes:
            return
        self._forget(key)
        self._make_room(shelf.size_bytes)
        self._held[key] = _Held(block.block_id, shelf.items, shelf.size_bytes)
        self._bytes += shelf.size_bytes

    def _make_room(self, size_bytes: int) -> None:
        while self._held and self._bytes + size_bytes > self._limit_bytes:
            self._forget(next(iter(self._held)))

    def _forget(self, key: Key) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= held.size_bytes


class _Shelf:
    """Collects a partition's items as long as they may be held."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes: Final = limit_bytes
        #: None: they may not.
        self.items: list[Any] | None = [] if limit_bytes else None
        self.size_bytes = 0

    def add(self, items: Sequence[Any]) -> None:
        """Take a batch."""
        if self.items is None or not items:
            return
        sample = items[:: max(1, len(items) // _SAMPLE_ITEMS)]
        self.size_bytes += sum(map(deep_size, sample)) * len(items) // len(sample)
        if self.size_bytes > self._limit_bytes or not is_immutable(items):
            self.items = None
        else:
            self.items += items


def objects_bytes(spec: "TaskSpec") -> int:
    """How much memory a worker gives to objects."""
    return int(spec.memory_limit_bytes * OBJECTS_SHARE) or int(spec.memory_bytes * _SHARE_OF_BUDGET)


def _in_memory(node: Node) -> bool:
    return node.level is not None and node.level.useMemory


def _can_compute(node: Node, partition: int, task: "Task") -> bool:
    """Whether the task was sent what all leaves behind a partition read."""
    waiting: list[tuple[Node, int]] = [(node, partition)]
    while waiting:
        each, its = waiting.pop()
        if isinstance(each, Leaf):
            if (each.rdd_id, its) not in task.spec.inputs:
                return False
            continue
        waiting += [
            (parent, theirs)
            for parent, theirs in each.needs(its)
            if parent.level is None or (parent.rdd_id, theirs) not in task.spec.cached
        ]
    return True
