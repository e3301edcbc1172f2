"""Range partitioning: keys in order over the partitions, with bounds taken from a sample (`sortByKey`).

Spark counts first and then draws a sample of the right share, so it reads everything twice. Here one pass does: each item has
its random number, which does not depend on the share, and those whose number lies under the share are the sample. While the
count is not known yet the share is too large rather than too small, and what is too much is taken away at the end. The sample
is the same as Spark's.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .task import Task

#: Keys in the sample for each partition: of Spark's RangePartitioner.
SAMPLE_PER_PARTITION: Final = 20.0
#: Where Spark's samplers begin, and how often they draw in advance because seeds of neighbours are close (`rddsampler.py`).
_SEED: Final = 1
_WARM_UP: Final = 10
#: The share is looked at anew after so many items.
_PIECE_ITEMS: Final = 1024


@dataclass(frozen=True, slots=True)
class KeySample:
    """Result of one partition: how many pairs there are, and (random number, key) of those that may be in the sample."""

    most: float

    def __call__(self, task: "Task", items: Iterator[Any]) -> tuple[int, list[tuple[float, Any]]]:
        random = Random(_SEED ^ task.spec.partition)
        for _ in range(_WARM_UP):
            random.randint(0, 1)
        draw = random.random
        count = 0
        kept: list[tuple[float, Any]] = []
        share = 1.0
        while piece := list(islice(items, _PIECE_ITEMS)):
            kept += [(drawn, pair[0]) for pair in piece if (drawn := draw()) < share]
            count += len(piece)
            share = min(self.most / count, 1.0)
            if len(kept) > 4 * self.most:
                kept = _under(share, kept)
        return count, _under(share, kept)


def bounds_of(
    sampled: Iterable[tuple[int, list[tuple[float, Any]]]],
    partitions: int,
    key: Callable[[Any], Any],
) -> list[Any] | None:
    """Return the keys that part the partitions, one fewer than there are; None where there are no pairs at all."""
    results = list(sampled)
    total = sum(count for count, _ in results)
    if not total:
        return None
    share = min(partitions * SAMPLE_PER_PARTITION / total, 1.0)
    sample = sorted((each for _, kept in results for drawn, each in kept if drawn < share), key=key)
    return [sample[len(sample) * (place + 1) // partitions] for place in range(partitions - 1)]


@dataclass(frozen=True, slots=True, eq=False)
class RangePartition:
    """The partition of a key: how many bounds lie before it, counted from the end where the order is descending."""

    bounds: list[Any]
    key: Callable[[Any], Any]
    ascending: bool

    def __call__(self, key: Any) -> int:
        place = bisect_left(self.bounds, self.key(key))
        return place if self.ascending else len(self.bounds) - place


def _under(share: float, drawn: list[tuple[float, Any]]) -> list[tuple[float, Any]]:
    return [each for each in drawn if each[0] < share]
