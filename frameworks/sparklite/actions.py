"""Actions: what makes a job run, and brings its results to the driver."""

from itertools import chain
from typing import TypeVar

from mesolite.executors.sparklite import results

from .base import RddBase

T = TypeVar("T")


class Actions(RddBase[T]):
    """Part of `RDD`."""

    def collect(self) -> list[T]:
        """All items, in order of partitions. They must fit into the driver's memory."""
        return list(chain.from_iterable(self._run(results.as_list)))

    def count(self) -> int:
        """How many items there are."""
        return sum(self._run(results.count))
