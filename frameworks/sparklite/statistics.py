"""Statistics of RDDs of numbers."""

import operator
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from math import isinf, isnan
from typing import Any, Final, TypeVar

from mesolite.executors.sparklite import results, stat_results
from mesolite.executors.sparklite.hyperloglog import HyperLogLog
from mesolite.executors.sparklite.stat_counter import StatCounter

from .base import RddBase
from .bounded_float import BoundedFloat

T = TypeVar("T")

#: Registers for a finer estimate than this would not fit anywhere.
_MIN_RELATIVE_SD: Final = 0.000017
#: Widths of buckets that differ by less are the same: they are sums of floats.
_SAME_WIDTH: Final = 1e-10


class Statistics(RddBase[T]):
    """Part of `RDD`."""

    def sum(self) -> Any:
        """The sum of all items; 0 where there are none."""
        return reduce(operator.add, self._run(stat_results.total), 0)

    def stats(self) -> StatCounter:
        """Count, mean, variance, maximum and minimum of all items, in one job.

        Raises:
            ValueError: There is not one partition.
        """
        return self._merged_stats(stat_results.stats)

    def mean(self) -> Any:
        """The mean of all items."""
        return self.stats().mean()

    def variance(self) -> Any:
        """The variance of these items as all there are."""
        return self.stats().variance()

    def sampleVariance(self) -> Any:
        """The variance of all items, judged by these as a sample (divided by n - 1)."""
        return self.stats().sampleVariance()

    def stdev(self) -> Any:
        """The square root of `variance`."""
        return self.stats().stdev()

    def sampleStdev(self) -> Any:
        """The square root of `sampleVariance`."""
        return self.stats().sampleStdev()

    def histogram(self, buckets: int | Sequence[Any]) -> tuple[Sequence[Any], list[int]]:
        """How many items are in each bucket.

        Args:
            buckets: Where each begins and the last ends, in order; all are open to the right but the last. Or how many equally
                wide ones to make between the smallest item and the largest. None and NaN are in no bucket.

        Returns:
            The buckets, and how many items are in each.

        Raises:
            TypeError: Buckets are neither, or items are no numbers and buckets are to be made.
            ValueError: Buckets are too few, not in order, or hold None, NaN or the same twice; an item is infinite.
        """
        if isinstance(buckets, int):
            return self._equal_buckets(buckets)
        if not isinstance(buckets, list | tuple):
            raise TypeError("buckets should be a list or tuple or number(int or long)")
        _check_buckets(buckets)
        return buckets, self._histogram(buckets, _width_of(buckets))

    def countApprox(self, timeout: int, confidence: float = 0.95) -> int:
        """How many items there are. Counts them all: see `sumApprox`."""
        del timeout, confidence
        return sum(self._run(results.count))

    def sumApprox(self, timeout: int, confidence: float = 0.95) -> BoundedFloat:
        """The sum of all items.

        Here it is always the exact one, also where that takes longer than the timeout: what PySpark gives when it is in time.
        """
        del timeout, confidence
        return _exactly(reduce(operator.add, self._run(stat_results.float_total), 0.0))

    def meanApprox(self, timeout: int, confidence: float = 0.95) -> BoundedFloat:
        """The mean of all items, exactly: see `sumApprox`."""
        del timeout, confidence
        return _exactly(self._merged_stats(stat_results.float_stats).mean())

    def countApproxDistinct(self, relativeSD: float = 0.05) -> int:
        """About how many different items there are.

        Args:
            relativeSD: The relative standard deviation of the answer; memory grows with its inverse square.

        Raises:
            ValueError: relativeSD is too small.
        """
        if relativeSD < _MIN_RELATIVE_SD:
            raise ValueError(f"relativeSD should be greater than {_MIN_RELATIVE_SD:f}")
        counter = HyperLogLog(relativeSD)
        for part in self._run(stat_results.Distinct(relativeSD)):
            counter.merge(part)
        return counter.estimate()

    def _merged_stats(self, function: Any) -> StatCounter:
        parts: list[StatCounter] = self._run(function)
        if not parts:
            raise ValueError("Can not reduce() empty RDD")
        return reduce(StatCounter.mergeStats, parts)

    def _equal_buckets(self, count: int) -> tuple[list[Any], list[int]]:
        if count < 1:
            raise ValueError("number of buckets must be >= 1")
        parts = [part for part in self._run(stat_results.extremes) if part is not None]
        if not parts:
            raise ValueError("can not generate buckets from empty RDD")
        lowest, highest = min(part[0] for part in parts), max(part[1] for part in parts)
        if lowest == highest or count == 1:
            return [lowest, highest], [sum(part[2] for part in parts)]
        try:
            step = (highest - lowest) / count
        except TypeError:
            raise TypeError("Can not generate buckets with non-number in RDD") from None
        if isinf(step):
            raise ValueError("Can not generate buckets with infinite value")
        # Integers stay integers where they come out even.
        step = int(step) if int(step) * count == highest - lowest else (highest - lowest) * 1.0 / count
        buckets = [number * step + lowest for number in range(count)]
        return [*buckets, highest], self._histogram([*buckets, highest], step)

    def _histogram(self, buckets: Sequence[Any], step: Any) -> list[int]:
        parts = self._run(stat_results.Histogram(buckets, step))
        if not parts:
            raise ValueError("Can not reduce() empty RDD")
        return [sum(counts) for counts in zip(*parts, strict=True)]


def _exactly(value: float) -> BoundedFloat:
    return BoundedFloat(value, 1.0, value, value)


def _check_buckets(buckets: Sequence[Any]) -> None:
    if len(buckets) < 2:
        raise ValueError("buckets should have more than one value")
    if any(each is None or (isinstance(each, float) and isnan(each)) for each in buckets):
        raise ValueError("can not have None or NaN in buckets")
    if sorted(buckets) != list(buckets):
        raise ValueError("buckets should be sorted")
    if len(set(buckets)) != len(buckets):
        raise ValueError("buckets should not contain duplicated values")


def _width_of(buckets: Sequence[Any]) -> Any:
    """The width of all, where it is the same and they are numbers; else None."""
    try:
        widths = [following - each for each, following in pairwise(buckets)]
    except TypeError:
        return None
    if max(widths) - min(widths) < _SAME_WIDTH:
        return (buckets[-1] - buckets[0]) / (len(buckets) - 1)
    return None
