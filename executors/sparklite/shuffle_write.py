"""The map side of a shuffle: pairs of one partition, combined where that is wanted, to the agent's block store.

A task's output is one block with a segment for each reduce partition, in order. What did not fit the memory lies in a file
meanwhile, and goes from there to the store through the kernel alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import accumulate, chain, groupby, islice
from typing import TYPE_CHECKING, Any, Final

from .blocks import BlockPart, size_of
from .combining import combine_values
from .memory_budget import MemoryBudget
from .pair_errors import explain_no_pair
from .placement import place_by
from .segment_writer import SegmentWriter
from .shuffle_data import Aggregator, MapOutput, ShuffleSpec
from .spill_file import SpillFile

if TYPE_CHECKING:
    from .task import Task

#: Parts up to here are joined with their neighbours: a call of the kernel costs more than to copy them.
_SMALL_BYTES: Final = 64 * 1024


def write_shuffle(
    items: Iterator[Any], spec: ShuffleSpec, task: "Task", budget: MemoryBudget | None = None
) -> MapOutput:
    """Write the pairs of one map partition to the store.

    Where memory was short a key may be in a segment several times: the reduce side combines all the same.

    Args:
        items: The pairs.
        spec: What becomes of them.
        task: Whose they are.
        budget: How much may be held; None: what the task may.

    Raises:
        TypeError: An item is nothing that can be taken apart, or a key cannot be hashed.
        ValueError: An item has more or fewer than two parts.
        BlockLost: The store does not take it.
        Exception: What functions of the user raise, and what pickling raises.
    """
    budget = budget or MemoryBudget(task.spec.memory_bytes)
    with closing(SpillFile(task.counters)) as spill:
        writer = SegmentWriter(spec.partitions, place_by(spec.partition_of), budget, spill, compress=spec.compress)
        if spec.aggregator is not None and spec.map_side_combine:
            _write_combined(iter(items), spec.aggregator, writer, budget)
        else:
            writer.write(iter(items))
        segments = writer.parts()
        name = f"shuffle-{task.spec.app_id}-{spec.shuffle_id}-{task.spec.partition}-{task.spec.task_id}"
        block = task.blocks.put_parts(name, _joined(chain.from_iterable(segments)))
    task.counters.shuffle_write_bytes += block.size_bytes
    task.counters.shuffle_write_items += sum(writer.counts)
    return MapOutput(block, (0, *accumulate(map(size_of, segments))), tuple(writer.counts))


def _write_combined(items: Iterator[Any], aggregator: Aggregator, writer: SegmentWriter, budget: MemoryBudget) -> None:
    combine = combine_values(aggregator)
    combined: dict[Any, Any] = {}
    for item in items:
        try:
            combine(combined, chain((item,), islice(items, budget.chunk_items - 1)))
        except (TypeError, ValueError) as error:
            explain_no_pair(error)
            raise
        if budget.over():
            writer.write_held(iter(combined.items()))
            combined.clear()
            writer.put_aside()
            budget.relieved()
    writer.write_held(iter(combined.items()))


def _joined(parts: Iterator[BlockPart]) -> Sequence[BlockPart]:
    joined: list[BlockPart] = []
    for small, group in groupby(parts, lambda part: isinstance(part, bytes) and len(part) < _SMALL_BYTES):
        if small:
            joined.append(b"".join(part for part in group if isinstance(part, bytes)))
        else:
            joined.extend(group)
    return joined
