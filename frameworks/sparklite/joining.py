"""Operations that bring pairs of several RDDs together by their keys.

As in PySpark, the result has as many partitions as all sides together, unless it is said otherwise, or
spark.default.parallelism is set, or all sides are partitioned alike. Sides that already lie as the result will are not moved.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mesolite.executors.sparklite import pair_steps
from mesolite.executors.sparklite.combining_in_place import CombineInPlace
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.nodes import SamePlace, StepFunction, Union

from .base import RddBase
from .partitioner import Partitioner

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")


class Joining(RddBase[T]):
    """Part of `RDD`."""

    def cogroup(self, other: "RDD[Any]", numPartitions: int | None = None) -> "RDD[Any]":
        """For each key of either: (key, (its values here, its values there)), both `ResultIterable`."""
        return self._met([other], numPartitions, pair_steps.CoGrouped(2))

    def groupWith(self, other: "RDD[Any]", *others: "RDD[Any]") -> "RDD[Any]":
        """`cogroup` of any number of RDDs."""
        return self._met([other, *others], None, pair_steps.CoGrouped(2 + len(others)))

    def join(self, other: "RDD[Any]", numPartitions: int | None = None) -> "RDD[Any]":
        """For each key of both: (key, (value here, value there)), each with each."""
        return self._met([other], numPartitions, pair_steps.Joined())

    def leftOuterJoin(self, other: "RDD[Any]", numPartitions: int | None = None) -> "RDD[Any]":
        """As `join`, and values here without any there go with None."""
        return self._met([other], numPartitions, pair_steps.Joined(all_left=True))

    def rightOuterJoin(self, other: "RDD[Any]", numPartitions: int | None = None) -> "RDD[Any]":
        """As `join`, and values there without any here go with None."""
        return self._met([other], numPartitions, pair_steps.Joined(all_right=True))

    def fullOuterJoin(self, other: "RDD[Any]", numPartitions: int | None = None) -> "RDD[Any]":
        """As `join`, and values of either without any of the other go with None."""
        return self._met([other], numPartitions, pair_steps.Joined(all_left=True, all_right=True))

    def subtractByKey(self, other: "RDD[Any]", numPartitions: int | None = None) -> "RDD[Any]":
        """Pairs whose key the other does not have."""
        right = pair_steps.only_keys_of_right
        return self._met([other], numPartitions, pair_steps.without_right, right)

    def _target(self, partitions: int | None, partition_func: Any, default: int | None = None) -> Partitioner:
        """Where pairs are to go.

        Args:
            partitions: What the user asked for.
            partition_func: As `Partitioner`.
            default: Partitions of the parents; None: of this RDD.

        Raises:
            TypeError: The user's number is none.
            ValueError: It is below 1.
        """
        if partitions is None:
            return Partitioner(self._reduce_partitions(default), partition_func)
        if not isinstance(partitions, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"numPartitions must be an int, not {partitions!r}")
        if partitions < 1:
            raise ValueError(f"numPartitions must be at least 1, not {partitions}")
        return Partitioner(partitions, partition_func)

    def _met(
        self,
        others: "Sequence[RddBase[Any]]",
        partitions: int | None,
        finish: StepFunction,
        from_right: StepFunction | None = None,
    ) -> "RDD[Any]":
        """Gather the values of each key, flat as `pair_steps` has them, and make of each key's what `finish` does.

        Args:
            others: The sides after this.
            partitions: As the user said.
            finish: Step from (key, flat list) to items of the result.
            from_right: Step that marks pairs of the second side, instead of `FromSide`.
        """
        sides: list[RddBase[Any]] = [self, *others]
        for side in others:
            _check(side, self)
        partitioner = self._target(partitions, portable_hash, _partitions_of_union(sides))
        marked = [
            side._step(from_right if from_right and number else pair_steps.FromSide(number), preserves=True)
            for number, side in enumerate(sides)
        ]
        return self._gathered(marked, partitioner)._step(finish, preserves=True)

    def _gathered(self, marked: "list[RDD[Any]]", partitioner: Partitioner) -> "RDD[Any]":
        group = pair_steps.CO_GROUP
        if all(side.partitioner != partitioner for side in marked):
            nodes = tuple(side._lineage.node for side in marked)
            union = self._combined(Union(self.ctx.next_rdd_id(), nodes), marked)
            return union._shuffled(partitioner, aggregator=group, map_side_combine=False)
        placed = [side if side.partitioner == partitioner else side._shuffled(partitioner) for side in marked]
        nodes = tuple(side._lineage.node for side in placed)
        together = self._combined(SamePlace(self.ctx.next_rdd_id(), nodes), placed, partitioner)
        return together._step(CombineInPlace(group), preserves=True)


def _partitions_of_union(sides: "Sequence[RddBase[Any]]") -> int:
    """As many as PySpark's `union` of one after the other has: alike ones lie on each other, others side by side."""
    partitions, partitioner = sides[0].getNumPartitions(), sides[0].partitioner
    for side in sides[1:]:
        if partitioner is None or side.partitioner != partitioner:
            partitions, partitioner = partitions + side.getNumPartitions(), None
    return partitions


def _check(other: object, one: RddBase[Any]) -> None:
    if not isinstance(other, RddBase):
        raise TypeError(f"an RDD is needed, not {type(other).__name__}: make one with sc.parallelize")
    if other.ctx is not one.ctx:  # pyright: ignore[reportUnknownMemberType]
        raise ValueError("both RDDs must be of the same SparkContext")
