"""Transformations of RDDs of anything: nothing runs before an action asks."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from mesolite.executors.sparklite import steps

from .base import RddBase

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")
U = TypeVar("U")


class Transformations(RddBase[T]):
    """Part of `RDD`."""

    def map(self, f: Callable[[T], U], preservesPartitioning: bool = False) -> "RDD[U]":
        """A new RDD of `f(item)` for each item."""
        return self._step(steps.Map(f), preserves=preservesPartitioning)

    def flatMap(self, f: Callable[[T], Iterable[U]], preservesPartitioning: bool = False) -> "RDD[U]":
        """A new RDD of all items of `f(item)` for each item."""
        return self._step(steps.FlatMap(f), preserves=preservesPartitioning)

    def filter(self, f: Callable[[T], bool]) -> "RDD[T]":
        """A new RDD of the items of which `f(item)` is true."""
        return self._step(steps.Filter(f), preserves=True)

    def mapPartitionsWithIndex(
        self,
        f: Callable[[int, Iterator[T]], Iterable[U]],
        preservesPartitioning: bool = False,
    ) -> "RDD[U]":
        """A new RDD of what `f(number of the partition, items)` returns for each partition."""
        return self._step(f, preserves=preservesPartitioning)
