"""RDDs out of two: as sets, one after the other, side by side, and all pairs."""

from typing import TYPE_CHECKING, Any, TypeVar

from mesolite.executors.sparklite import steps
from mesolite.executors.sparklite.nodes import Cartesian, Node, SamePlace, Union, Zipped
from mesolite.executors.sparklite.shuffle_data import Aggregator

from .base import RddBase
from .call_site import call_site
from .lineage import Lineage
from .partitioner import Partitioner

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")
U = TypeVar("U")


class Combining(RddBase[T]):
    """Part of `RDD`."""

    def union(self, other: "RDD[U]") -> "RDD[T | U]":
        """A new RDD of this one's partitions and then the other's; partition by partition where both have one partitioner."""
        self._must_be_rdd("union", other)
        return united([self._self(), other])

    def __add__(self, other: "RDD[U]") -> "RDD[T | U]":
        """See `union`.

        Raises:
            TypeError: It is no RDD.
        """
        return self.union(other)

    def distinct(self, numPartitions: int | None = None) -> "RDD[T]":
        """A new RDD of each item once; items are placed by their hash."""
        partitioner = Partitioner(self._reduce_partitions() if numPartitions is None else numPartitions)
        pairs = self._step(steps.With(None))
        merged = pairs._shuffled(partitioner, aggregator=Aggregator(steps.same, steps.earlier, steps.earlier))
        return merged._step(steps.Part(0))

    def intersection(self, other: "RDD[T]") -> "RDD[T]":
        """A new RDD of items that are in both, each once."""
        self._must_be_rdd("intersection", other)
        left, right = self._step(steps.With(None)), other._step(steps.With(None))
        return left.cogroup(right)._step(steps.InBoth())

    def subtract(self, other: "RDD[T]", numPartitions: int | None = None) -> "RDD[T]":
        """A new RDD of the items that are not in the other; what is in this one twice stays twice."""
        self._must_be_rdd("subtract", other)
        left, right = self._step(steps.With(True)), other._step(steps.With(True))
        return left.subtractByKey(right, numPartitions)._step(steps.Part(0))

    def cartesian(self, other: "RDD[U]") -> "RDD[tuple[T, U]]":
        """A new RDD of all pairs (item of this, item of the other), with as many partitions as both have multiplied."""
        self._must_be_rdd("cartesian", other)
        node = Cartesian(self.ctx.next_rdd_id(), self._lineage.node, other._lineage.node)
        return self._combined(node, (self, other))

    def zip(self, other: "RDD[U]") -> "RDD[tuple[T, U]]":
        """A new RDD of (item of this, item of the other at the same place).

        Raises:
            ValueError: They have different numbers of partitions. That partitions have different numbers of items fails the
                job, once that is seen.
        """
        self._must_be_rdd("zip", other)
        if self.getNumPartitions() != other.getNumPartitions():
            raise ValueError("Can only zip with RDD which has the same number of partitions")
        return self._combined(Zipped(self.ctx.next_rdd_id(), self._lineage.node, other._lineage.node), (self, other))

    def _must_be_rdd(self, operation: str, other: object) -> None:
        if not isinstance(other, RddBase):
            raise TypeError(
                f"{operation} needs another RDD, not {type(other).__name__}: make one of it by sc.parallelize"
            )


def united(rdds: "list[RDD[Any]]") -> "RDD[Any]":
    """Return an RDD of all items of several, of which there is at least one."""
    ctx, partitioner = rdds[0].ctx, rdds[0].partitioner
    lineages = tuple(rdd.lineage for rdd in rdds)
    nodes = tuple(lineage.node for lineage in lineages)
    if partitioner is not None and all(rdd.partitioner == partitioner for rdd in rdds):
        node: Node = SamePlace(ctx.next_rdd_id(), nodes)
    else:
        partitioner, node = None, Union(ctx.next_rdd_id(), nodes)
    trouble = next((lineage.trouble for lineage in lineages if lineage.trouble is not None), None)
    return ctx.new_rdd(Lineage(node, lineages, name=call_site(), trouble=trouble), partitioner)
