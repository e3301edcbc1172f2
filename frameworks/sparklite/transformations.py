"""Transformations of RDDs of anything, within partitions: nothing runs before an action asks."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from mesolite.executors.sparklite import results, steps
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.piping import Pipe

from .base import RddBase

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")


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

    def mapPartitions(self, f: Callable[[Iterator[T]], Iterable[U]], preservesPartitioning: bool = False) -> "RDD[U]":
        """A new RDD of what `f(items)` returns for each partition."""
        return self._step(steps.Partitions(f), preserves=preservesPartitioning)

    def mapPartitionsWithIndex(
        self,
        f: Callable[[int, Iterator[T]], Iterable[U]],
        preservesPartitioning: bool = False,
    ) -> "RDD[U]":
        """A new RDD of what `f(number of the partition, items)` returns for each partition."""
        return self._step(f, preserves=preservesPartitioning)

    def mapPartitionsWithSplit(
        self,
        f: Callable[[int, Iterator[T]], Iterable[U]],
        preservesPartitioning: bool = False,
    ) -> "RDD[U]":
        """The old name of `mapPartitionsWithIndex`."""
        return self._step(f, preserves=preservesPartitioning)

    def glom(self) -> "RDD[list[T]]":
        """A new RDD of one list for each partition."""
        return self._step(steps.Glom())

    def keyBy(self, f: Callable[[T], K]) -> "RDD[tuple[K, T]]":
        """A new RDD of pairs (f(item), item)."""
        return self._step(steps.KeyBy(f))

    def groupBy(
        self,
        f: Callable[[T], K],
        numPartitions: int | None = None,
        partitionFunc: Callable[[K], int] = portable_hash,
    ) -> "RDD[tuple[K, Iterable[T]]]":
        """A new RDD of (key, all items of which `f(item)` is the key)."""
        return self.keyBy(f).groupByKey(numPartitions, partitionFunc)

    def zipWithIndex(self) -> "RDD[tuple[T, int]]":
        """A new RDD of (item, its number in the whole RDD). Runs a job where there is more than one partition."""
        starts = [0]
        if self.getNumPartitions() > 1:
            for count in self._run(results.count)[:-1]:
                starts.append(starts[-1] + count)
        return self._step(steps.Numbered(tuple(starts)))

    def zipWithUniqueId(self) -> "RDD[tuple[T, int]]":
        """A new RDD of (item, number): k, k + n, k + 2n of partition k of n; no job is needed."""
        return self._step(steps.Unique(self.getNumPartitions()))

    def pipe(self, command: str, env: dict[str, str] | None = None, checkCode: bool = False) -> "RDD[str]":
        """A new RDD of the lines that a command writes when it reads the items of a partition as lines.

        Args:
            command: A program with its arguments, on the worker; not a shell's line.
            env: Its whole environment; as in PySpark that is empty unless given.
            checkCode: Fail where it ends with another code than 0.
        """
        return self._step(Pipe(command, dict(env or {}), checkCode))
