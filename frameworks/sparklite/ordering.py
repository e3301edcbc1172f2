"""Order: sorting over the partitions, and within them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from mesolite.executors.sparklite import steps
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.ranges import SAMPLE_PER_PARTITION, KeySample, RangePartition, bounds_of

from .base import RddBase
from .partitioner import Partitioner

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")


class Ordering(RddBase[T]):
    """Part of `RDD`."""

    def sortByKey(
        self,
        ascending: bool | None = True,
        numPartitions: int | None = None,
        keyfunc: Callable[[Any], Any] = steps.same,
    ) -> "RDD[Any]":
        """A new RDD of the pairs in order of their keys. Runs a job for a sample of them, to part them evenly.

        Args:
            ascending: Smallest first.
            numPartitions: None: as many as there are (or `spark.default.parallelism`).
            keyfunc: Order by this function of the key.
        """
        partitions = self._reduce_partitions() if numPartitions is None else numPartitions
        if numPartitions is not None and numPartitions < 1:
            raise ValueError("Number of partitions must be positive.")
        bounds: list[Any] = []
        if partitions != 1:
            sampled = self._run(KeySample(partitions * SAMPLE_PER_PARTITION))
            found = bounds_of(sampled, partitions, keyfunc)
            if found is None:
                return self._self()
            bounds = found
        placed = RangePartition(bounds, keyfunc, bool(ascending))
        return self._shuffled(Partitioner(partitions, placed), order=keyfunc, descending=not ascending)

    def sortBy(
        self,
        keyfunc: Callable[[T], Any],
        ascending: bool = True,
        numPartitions: int | None = None,
    ) -> "RDD[T]":
        """A new RDD of the items in order of `keyfunc(item)`; items that are equal in it keep their order."""
        pairs = self._step(steps.KeyBy(keyfunc))
        return pairs.sortByKey(ascending, numPartitions)._step(steps.Part(1))

    def repartitionAndSortWithinPartitions(
        self,
        numPartitions: int | None = None,
        partitionFunc: Callable[[Any], int] = portable_hash,
        ascending: bool = True,
        keyfunc: Callable[[Any], Any] = steps.same,
    ) -> "RDD[Any]":
        """A new RDD of the pairs, placed by a function of the key and in order of keys within each partition."""
        partitions = self._reduce_partitions() if numPartitions is None else numPartitions
        partitioner = Partitioner(partitions, partitionFunc)
        return self._shuffled(partitioner, order=keyfunc, descending=not ascending)
