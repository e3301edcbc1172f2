"""The reduce side of a shuffle: segments of all map tasks, combined and sorted as the RDD has it."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice, starmap
from typing import TYPE_CHECKING, Any, Final

from .external_merger import merged
from .external_sorter import ExternalSorter
from .fetching import fetched_columns
from .frames import Columns
from .memory_budget import MemoryBudget
from .shuffle_data import Segment

if TYPE_CHECKING:
    from .nodes import ShuffleRead
    from .task import Task

#: Combined pairs that are handed to the sort at once.
_CHUNK_PAIRS: Final = 4096


def read_shuffle(
    node: "ShuffleRead", segments: tuple[Segment, ...], task: "Task", budget: MemoryBudget | None = None
) -> Iterator[Any]:
    """Return the pairs of one reduce partition: combined where there is an aggregator, in order where there is one.

    Without either they come in the order of map partitions, and of pairs in each. Nothing is fetched before the first is asked
    for.

    Args:
        node: What is wanted of them.
        segments: Of the partition, in order of map partitions.
        task: Who reads.
        budget: How much may be held; None: what the task may.

    Raises:
        FetchFailed: While pairs are taken: a map output is lost.
        Exception: What functions of the user raise.
    """
    budget = budget or MemoryBudget(task.spec.memory_bytes)
    columns: Iterable[Columns] = fetched_columns(segments, task, budget)
    aggregator, order = node.spec.aggregator, node.order
    if aggregator is not None:
        before = node.spec.map_side_combine
        pairs = merged(columns, aggregator, budget, task.counters, combined_before=before)
        if order is None:
            return pairs
        columns = _columns(pairs)
    if order is not None:
        return ExternalSorter(order, budget, task.counters, descending=node.descending).sorted(columns)
    return chain.from_iterable(starmap(zip, columns))


def _columns(pairs: Iterator[tuple[Any, Any]]) -> Iterator[Columns]:
    while chunk := list(islice(pairs, _CHUNK_PAIRS)):
        keys, values = zip(*chunk, strict=True)
        yield Columns(keys, values)
