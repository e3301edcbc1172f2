"""Functions of result stages over numbers: (task, items) -> the value of a partition."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from .hyperloglog import HyperLogLog
from .stat_counter import StatCounter

if TYPE_CHECKING:
    from .task import Task


def total(task: "Task", items: Iterator[Any]) -> Any:
    """`sum`."""
    return sum(items)


def float_total(task: "Task", items: Iterator[Any]) -> float:
    """`sumApprox`."""
    return float(sum(items))


def stats(task: "Task", items: Iterator[Any]) -> StatCounter:
    """`stats`."""
    return StatCounter(items)


def float_stats(task: "Task", items: Iterator[Any]) -> StatCounter:
    """`meanApprox`."""
    return StatCounter(map(float, items))


def extremes(task: "Task", items: Iterator[Any]) -> tuple[Any, Any, int] | None:
    """`histogram` before it knows its buckets: (smallest, largest, count) of what can be compared; None where nothing can."""
    comparable = comparable_of(items)
    first = next(comparable, None)
    if first is None:
        return None
    smallest, largest, count = first, first, 1
    for item in comparable:
        count += 1
        if item < smallest:
            smallest = item
        if item > largest:
            largest = item
    return smallest, largest, count


def comparable_of(items: Iterator[Any]) -> Iterator[Any]:
    """Items without None and NaN."""
    return (item for item in items if item is not None and not (type(item) is float and isnan(item)))


@dataclass(frozen=True, slots=True)
class Histogram:
    """`histogram`: how many items are in each bucket; items outside of all, None and NaN do not count.

    Args:
        buckets: Where they begin, and where the last ends, which is in it.
        step: How wide each is, where all are equally wide: then the bucket is calculated instead of looked for.
    """

    buckets: Sequence[Any]
    step: Any = None

    def __call__(self, task: "Task", items: Iterator[Any]) -> list[int]:
        buckets, step = self.buckets, self.step
        lowest, highest = buckets[0], buckets[-1]
        counts = [0] * len(buckets)
        for item in comparable_of(items):
            if item > highest or item < lowest:
                continue
            index = bisect_right(buckets, item) - 1 if step is None else int((item - lowest) / step)
            counts[index] += 1
        # An item that is the highest bound came out one bucket too far.
        last = counts.pop()
        counts[-1] += last
        return counts


@dataclass(frozen=True, slots=True)
class Distinct:
    """`countApproxDistinct`."""

    relative_sd: float

    def __call__(self, task: "Task", items: Iterator[Any]) -> HyperLogLog:
        counter = HyperLogLog(self.relative_sd)
        counter.add_all(items)
        return counter
