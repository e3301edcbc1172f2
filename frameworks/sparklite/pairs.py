"""Operations on RDDs of pairs (key, value)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from mesolite.executors.sparklite import steps
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.shuffle_data import Aggregator

from .base import RddBase
from .partitioner import Partitioner

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")


class Pairs(RddBase[T]):
    """Part of `RDD`."""

    def reduceByKey(
        self,
        func: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
        partitionFunc: Callable[[Any], int] = portable_hash,
    ) -> "RDD[Any]":
        """Merge the values of each key with an associative, commutative function; on the map side first."""
        partitioner = Partitioner(numPartitions or self.getNumPartitions(), partitionFunc)
        return self._shuffled(partitioner, aggregator=Aggregator(steps.same, func, func))
