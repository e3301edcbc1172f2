"""Actions: what makes a job run, and brings its results to the driver."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, TypeVar

from mesolite.executors.sparklite import results

from .base import RddBase

T = TypeVar("T")


class Actions(RddBase[T]):
    """Part of `RDD`."""

    def collect(self) -> list[T]:
        """All items, in order of partitions. They must fit into the driver's memory."""
        return list(chain.from_iterable(self._run(results.as_list)))

    def collectWithJobGroup(self, groupId: str, description: str, interruptOnCancel: bool = False) -> list[T]:
        """`collect` in a job group. PySpark has deprecated it: use `SparkContext.setJobGroup`."""
        warnings.warn("use SparkContext.setJobGroup and collect", FutureWarning, stacklevel=2)
        self.ctx.setJobGroup(groupId, description, interruptOnCancel)
        return self.collect()

    def toLocalIterator(self, prefetchPartitions: bool = False) -> Iterator[T]:
        """All items, of which the driver holds one partition at a time: each partition is a job.

        Args:
            prefetchPartitions: Run the next partition's job while items of this one are used.
        """
        partitions = range(self.getNumPartitions())
        if prefetchPartitions:
            return chain.from_iterable(self._ahead(partitions))
        return chain.from_iterable(self._run(results.as_list, [each])[0] for each in partitions)

    def count(self) -> int:
        """How many items there are."""
        return sum(self._run(results.count))

    def first(self) -> T:
        """The first item.

        Raises:
            ValueError: There is none.
        """
        for item in self.take(1):
            return item
        raise ValueError("RDD is empty")

    def isEmpty(self) -> bool:
        """Whether there is no item at all, in however many partitions."""
        return not self.take(1)

    def take(self, num: int) -> list[T]:
        """The first items, as many as that. Few partitions are computed first, and more only if needed."""
        items: list[T] = []
        total = self.getNumPartitions()
        scanned = 0
        while len(items) < num and scanned < total:
            more = _more_partitions(num, len(items), scanned)
            wanted = range(scanned, min(scanned + more, total))
            items += chain.from_iterable(self._run(results.Take(num - len(items)), wanted))
            scanned += more
        return items[: max(num, 0)]

    def foreach(self, f: Callable[[T], None]) -> None:
        """Call a function for each item, where the items are."""
        self._run(results.Each(f))

    def foreachPartition(self, f: Callable[[Iterator[T]], Any]) -> None:
        """Call a function for the items of each partition, where they are."""
        self._run(results.EachPartition(f))

    def _ahead(self, partitions: Iterable[int]) -> Iterator[list[T]]:
        """Each partition's items, with the next one's job under way."""
        with ThreadPoolExecutor(1, thread_name_prefix="sparklite-ahead") as pool:
            under_way = None
            for each in partitions:
                following = pool.submit(self._run, results.as_list, [each])
                if under_way is not None:
                    yield under_way.result()[0]
                under_way = following
            if under_way is not None:
                yield under_way.result()[0]


def _more_partitions(wanted: int, had: int, scanned: int) -> int:
    """How many partitions `take` looks at next.

    One at first; four times what was looked at if nothing was found; else as many as seem to be needed and half of that, and
    never more than four times what was looked at.
    """
    if not scanned:
        return 1
    if not had:
        return scanned * 4
    return min(max(int(1.5 * wanted * scanned / had) - scanned, 1), scanned * 4)
