"""`reduceByKey` and its kin where all pairs of a key are in one partition already: nothing moves.

As careful of memory as the reduce side of a shuffle, whose means these are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

from .counters import Counters
from .current import task
from .external_merger import merged
from .frames import Columns
from .memory_budget import MemoryBudget
from .shuffle_data import Aggregator

#: Pairs that are combined at once, before a look at memory.
_CHUNK_PAIRS: Final = 4096
#: Of a task that says nothing: none runs here.
_DEFAULT_BUDGET_BYTES: Final = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CombineInPlace:
    """What a shuffle with this aggregator would give."""

    aggregator: Aggregator

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        current = task()
        budget = MemoryBudget(_DEFAULT_BUDGET_BYTES if current is None else current.spec.memory_bytes)
        counters = Counters() if current is None else current.counters
        return merged(_columns(items), self.aggregator, budget, counters, combined_before=False)


def _columns(pairs: Iterator[Any]) -> Iterator[Columns]:
    for pair in pairs:
        keys, values = zip(*chain((pair,), islice(pairs, _CHUNK_PAIRS - 1)), strict=True)
        yield Columns(keys, values)
