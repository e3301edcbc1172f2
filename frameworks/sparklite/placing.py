"""How many partitions there are, and whether their tasks run together."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mesolite.executors.sparklite import steps
from mesolite.executors.sparklite.nodes import Grouped
from mesolite.executors.sparklite.spreading import Spread, Unbatch

from .base import RddBase
from .partitioner import Partitioner

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")
U = TypeVar("U")


class Placing(RddBase[T]):
    """Part of `RDD`."""

    def repartition(self, numPartitions: int) -> "RDD[T]":
        """A new RDD of so many partitions, by a shuffle that spreads the items evenly; for fewer see `coalesce`."""
        return self.coalesce(numPartitions, shuffle=True)

    def coalesce(self, numPartitions: int, shuffle: bool = False) -> "RDD[T]":
        """A new RDD of fewer partitions.

        Args:
            numPartitions: How many. Without a shuffle there will never be more than there are.
            shuffle: Spread items evenly by a shuffle, so that what comes before still runs in all partitions.

        Raises:
            ValueError: The number is not positive.
        """
        if not numPartitions > 0:
            raise ValueError("Number of partitions must be positive.")
        if shuffle:
            batches = self._step(Spread(numPartitions))._shuffled(Partitioner(numPartitions, steps.same))
            return batches._step(Unbatch())
        had = self.getNumPartitions()
        size = min(numPartitions, had)
        groups = tuple(tuple(range(had * i // size, had * (i + 1) // size)) for i in range(size))
        return self._combined(Grouped(self.ctx.next_rdd_id(), self._lineage.node, groups), (self,))

    def barrier(self) -> "RDDBarrier[T]":
        """This RDD for a step whose tasks are all started together, and started anew together if one fails."""
        return RDDBarrier(self._self())


class RDDBarrier(Generic[T]):
    """See `pyspark.RDDBarrier`."""

    def __init__(self, rdd: "RDD[T]") -> None:
        self.rdd = rdd

    def mapPartitions(self, f: Callable[[Iterator[T]], Iterable[U]], preservesPartitioning: bool = False) -> "RDD[U]":
        """As `RDD.mapPartitions`, in a stage whose tasks run together (`BarrierTaskContext`)."""
        return self._together(self.rdd.mapPartitions(f, preservesPartitioning))

    def mapPartitionsWithIndex(
        self, f: Callable[[int, Iterator[T]], Iterable[U]], preservesPartitioning: bool = False
    ) -> "RDD[U]":
        """As `RDD.mapPartitionsWithIndex`, in a stage whose tasks run together."""
        return self._together(self.rdd.mapPartitionsWithIndex(f, preservesPartitioning))

    def _together(self, made: "RDD[Any]") -> "RDD[Any]":
        made.lineage.barrier = True
        return made
