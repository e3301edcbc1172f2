"""Combines pairs by key in as much memory as there is.

All goes into one dictionary. When memory is short, the dictionary goes to disk in parts by hashes of its keys, and a new one is
begun; in the end each part is combined by itself, in the same way. A key is in one part only, so parts follow each other in the
result, and what has to fit into memory is one key's value. Values of a key are combined in the order in which they came.
"""

from collections.abc import Callable, ItemsView, Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import Any, Final

from .combining import Combine, combine_combiners, combine_values
from .counters import Counters
from .frames import Columns, decode_frames
from .memory_budget import MemoryBudget
from .placement import place_by
from .segment_writer import SegmentWriter
from .shuffle_data import Aggregator
from .spill_file import SpillFile, bytes_of

_PARTS_BITS: Final = 5
#: A million times the budget; whose keys hash alike would be parted for ever.
_MAX_LEVELS: Final = 4
#: The golden ratio of 2^64: its products spread keys whose hashes have a remainder in common, as all of a partition have.
_SPREAD: Final = 0x9E3779B97F4A7C15
_HASH_BITS: Final = 64
#: What an item takes in memory beside its bytes, at least.
_ITEM_BYTES: Final = 64


def merged(
    columns: Iterable[Columns],
    aggregator: Aggregator,
    budget: MemoryBudget,
    counters: Counters,
    *,
    combined_before: bool = True,
) -> Iterator[tuple[Any, Any]]:
    """Return each key once, with its combined value: in order of first coming, unless memory was short.

    Args:
        columns: Pairs.
        aggregator: How to combine.
        budget: How much may be held.
        counters: Told what was put aside.
        combined_before: The values are combiners already.
    """
    combine = combine_combiners(aggregator) if combined_before else combine_values(aggregator)
    return chain.from_iterable(_merged(columns, combine, combine_combiners(aggregator), budget, counters, 0))


def _merged(
    columns: Iterable[Columns], combine: Combine, again: Combine, budget: MemoryBudget, counters: Counters, level: int
) -> Iterator[ItemsView[Any, Any]]:
    """Dictionaries whose keys are apart."""
    with closing(SpillFile(counters)) as spill:
        combined: dict[Any, Any] = {}
        writer: SegmentWriter | None = None
        for keys, values in columns:
            combine(combined, zip(keys, values))  # noqa: B905 - frames were checked
            # One key cannot be parted, and keys that hash alike are not worth more tries.
            if budget.grew_over(_ITEM_BYTES * len(keys)) and len(combined) > 1 and level < _MAX_LEVELS:
                if writer is None:
                    writer = SegmentWriter(1 << _PARTS_BITS, place_by(_part_at(level)), budget, spill, compress=False)
                _put_aside(combined, writer, budget)
        if writer is None:
            yield combined.items()
            return
        _put_aside(combined, writer, budget)
        for part in writer.parts():
            yield from _merged(decode_frames(bytes_of(part), budget.note), again, again, budget, counters, level + 1)


def _put_aside(combined: dict[Any, Any], writer: SegmentWriter, budget: MemoryBudget) -> None:
    writer.write_held(iter(combined.items()))
    combined.clear()
    writer.put_aside()
    budget.relieved()


def _part_at(level: int) -> Callable[[Any], int]:
    shift = _HASH_BITS - _PARTS_BITS * (level + 1)

    def part_of(key: Any) -> int:
        return ((hash(key) * _SPREAD) & ((1 << _HASH_BITS) - 1)) >> shift

    return part_of
