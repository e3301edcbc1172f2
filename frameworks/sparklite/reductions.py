"""Actions that make one value of all items: in each partition first, then of the partitions' values, in their order."""

import heapq
from collections.abc import Callable
from copy import deepcopy
from functools import reduce
from itertools import chain
from math import ceil
from typing import Any, TypeVar, cast

from mesolite.executors.sparklite import results, steps

from .base import RddBase

T = TypeVar("T")
U = TypeVar("U")


class Reductions(RddBase[T]):
    """Part of `RDD`."""

    def reduce(self, f: Callable[[T, T], T]) -> T:
        """All items merged by a commutative, associative function.

        Raises:
            ValueError: There are none.
        """
        values: list[T] = list(chain.from_iterable(self._run(results.Reduce(f))))
        if not values:
            raise ValueError("Can not reduce() empty RDD")
        return reduce(f, values)

    def treeReduce(self, f: Callable[[T, T], T], depth: int = 2) -> T:
        """As `reduce`, but values of many partitions are merged by workers first.

        Raises:
            ValueError: There are no items, or the depth is below 1.
        """
        _check_depth(depth)
        merge = steps.Reducing(f)
        zero: tuple[Any, bool] = (None, True)
        value, nothing = self._step(steps.With(False)).treeAggregate(zero, merge, merge, depth)
        if nothing:
            raise ValueError("Cannot reduce empty RDD.")
        return cast("T", value)

    def fold(self, zeroValue: T, op: Callable[[T, T], T]) -> T:
        """All items merged into `zeroValue`: in each partition, and then of the partitions' values once more."""
        return reduce(op, self._run(results.Fold(zeroValue, op)), deepcopy(zeroValue))

    def aggregate(self, zeroValue: U, seqOp: Callable[[U, T], U], combOp: Callable[[U, U], U]) -> U:
        """All items merged into `zeroValue` by `seqOp`, and the partitions' values by `combOp`."""
        return reduce(combOp, self._run(results.Fold(zeroValue, seqOp)), deepcopy(zeroValue))

    def treeAggregate(self, zeroValue: U, seqOp: Callable[[U, T], U], combOp: Callable[[U, U], U], depth: int = 2) -> U:
        """As `aggregate`, but values of many partitions are merged by workers first.

        Raises:
            ValueError: The depth is below 1.
        """
        _check_depth(depth)
        if self.getNumPartitions() == 0:
            return zeroValue
        values = self._step(steps.Aggregated(zeroValue, seqOp))
        for branches in _levels(self.getNumPartitions(), depth):
            merged = values._step(steps.ToBranch(branches)).reduceByKey(combOp, branches)
            values = merged._step(steps.Part(1))
        return cast("U", values.reduce(combOp))

    def max(self, key: Callable[[T], Any] | None = None) -> T:
        """The largest item, by a key if one is given; the first of equal ones.

        Raises:
            ValueError: There are none.
        """
        return self._best(max, key)

    def min(self, key: Callable[[T], Any] | None = None) -> T:
        """The smallest item, by a key if one is given; the first of equal ones.

        Raises:
            ValueError: There are none.
        """
        return self._best(min, key)

    def top(self, num: int, key: Callable[[T], Any] | None = None) -> list[T]:
        """The largest items, largest first. All of them go through the driver's memory.

        Raises:
            ValueError: There are no partitions (PySpark says so too).
        """
        found = self._run(results.Largest(num, key))
        if not found:
            raise ValueError("Can not reduce() empty RDD")
        return heapq.nlargest(num, chain.from_iterable(found), key=key)

    def takeOrdered(self, num: int, key: Callable[[T], Any] | None = None) -> list[T]:
        """The smallest items, smallest first. All of them go through the driver's memory.

        Raises:
            ValueError: The number is negative.
        """
        if num < 0:
            raise ValueError("top N cannot be negative.")
        if num == 0:
            return []
        return heapq.nsmallest(num, chain.from_iterable(self._run(results.Smallest(num, key))), key=key)

    def _best(self, choose: Callable[..., T], key: Callable[[T], Any] | None) -> T:
        found = list(chain.from_iterable(self._run(results.Best(choose, key))))
        if not found:
            raise ValueError("Can not reduce() empty RDD")
        return choose(found, key=key)


def _check_depth(depth: int) -> None:
    if depth < 1:
        raise ValueError(f"Depth cannot be smaller than 1 but got {depth}.")


def _levels(partitions: int, depth: int) -> list[int]:
    """How many branches each level of a tree has, beneath its root: as Spark's `treeAggregate`."""
    scale = max(ceil(partitions ** (1.0 / depth)), 2)
    levels: list[int] = []
    left = float(partitions)
    while left > scale + left / scale:
        left /= scale
        levels.append(int(left))
    return levels
