"""A whole shuffle in one process: map partitions in, reduce partitions out, with memory that runs short when the test says."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from mesolite.executors.sparklite.counters import Counters
from mesolite.executors.sparklite.directory_blocks import DirectoryBlocks
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.memory_budget import MemoryBudget
from mesolite.executors.sparklite.nodes import ShuffleRead
from mesolite.executors.sparklite.shuffle_data import Aggregator, MapOutput, Segment, ShuffleSpec
from mesolite.executors.sparklite.shuffle_read import read_shuffle
from mesolite.executors.sparklite.shuffle_write import write_shuffle
from mesolite.executors.sparklite.storage import Storage
from mesolite.executors.sparklite.task import Task
from mesolite.executors.sparklite.task_data import StageCode, TaskSpec

#: Budgets of tests whose memory is pretended.
PRETENDED_BYTES: Final = 64 * 1024


class Memory:
    """Resident memory as a test wants it: each look may find that it has grown over the budget, in turns.

    Args:
        short: Whether memory is short, at one look after the other, from the beginning again at the end.
    """

    def __init__(self, short: Sequence[bool]) -> None:
        self._short = tuple(short) or (False,)
        self._looks = 0
        self._bytes = 0

    def __call__(self) -> int:
        self._looks += 1
        if self._short[self._looks % len(self._short)]:
            self._bytes += 2 * PRETENDED_BYTES
        return self._bytes


@contextlib.contextmanager
def budget(memory: Callable[[], int], budget_bytes: int = PRETENDED_BYTES) -> Generator[MemoryBudget, None, None]:
    """A budget of pretended memory, which leaves nothing behind."""
    before = MemoryBudget.floor_bytes
    MemoryBudget.floor_bytes = None
    try:
        yield MemoryBudget(budget_bytes, memory)
    finally:
        MemoryBudget.floor_bytes = before


class ShuffleRig:
    """Runs shuffles over blocks in a directory."""

    def __init__(self, directory: Path, *, short: Sequence[bool] = ()) -> None:
        self.blocks: Final = DirectoryBlocks(directory)
        self.outputs: list[MapOutput] = []
        #: Of all tasks so far.
        self.counters: list[Counters] = []
        self._short: Final = tuple(short)
        self._tasks = 0

    def task(self, node: ShuffleRead, spec: ShuffleSpec, partition: int) -> Task:
        """One more task."""
        self._tasks += 1
        task = Task(
            StageCode(node, shuffle=spec), TaskSpec("app", 0, 0, 0, self._tasks, partition, {}), self.blocks, Storage()
        )
        self.counters.append(task.counters)
        return task

    def run(
        self,
        partitions: Iterable[Iterable[Any]],
        count: int,
        *,
        partition_of: Callable[[Any], int] = portable_hash,
        aggregator: Aggregator | None = None,
        map_side_combine: bool = True,
        order: Callable[[Any], Any] | None = None,
        descending: bool = False,
        compress: bool = True,
    ) -> list[list[Any]]:
        """Return the pairs of each reduce partition."""
        spec = ShuffleSpec(7, count, partition_of, aggregator, map_side_combine, compress)
        node = ShuffleRead(1, spec, order, descending=descending)
        self.write(partitions, spec, node)
        return [list(self.read(node, spec, partition)) for partition in range(count)]

    def write(self, partitions: Iterable[Iterable[Any]], spec: ShuffleSpec, node: ShuffleRead) -> None:
        """The map side."""
        self.outputs = []
        for number, items in enumerate(partitions):
            with budget(Memory(self._short)) as held:
                self.outputs.append(write_shuffle(iter(items), spec, self.task(node, spec, number), held))

    def segments(self, partition: int) -> tuple[Segment, ...]:
        """What a reduce task reads."""
        return tuple(
            Segment(
                7,
                number,
                each.block,
                each.offsets[partition],
                each.offsets[partition + 1] - each.offsets[partition],
                each.counts[partition],
            )
            for number, each in enumerate(self.outputs)
        )

    def read(self, node: ShuffleRead, spec: ShuffleSpec, partition: int) -> Iterator[Any]:
        """The reduce side of one partition."""
        with budget(Memory(self._short)) as held:
            yield from read_shuffle(node, self.segments(partition), self.task(node, spec, partition), held)
