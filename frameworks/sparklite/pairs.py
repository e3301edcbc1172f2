"""Operations on RDDs of pairs (key, value), without those that join several (joining.py)."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

from mesolite.executors.sparklite import pair_results, pair_steps, results, steps
from mesolite.executors.sparklite.combining_in_place import CombineInPlace
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.shuffle_data import Aggregator

from .joining import Joining
from .partitioner import Partitioner, is_same_everywhere

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")

#: Says where a key goes: modulo the number of partitions.
PartitionFunc = Callable[[Any], int]


class Pairs(Joining[T]):
    """Part of `RDD`."""

    # One item each

    def keys(self) -> "RDD[Any]":
        """The key of each pair."""
        return self._step(pair_steps.keys)

    def values(self) -> "RDD[Any]":
        """The value of each pair."""
        return self._step(pair_steps.values)

    def mapValues(self, f: Callable[[Any], Any]) -> "RDD[Any]":
        """Pairs of the same keys with `f(value)`; keys stay where they are."""
        return self._step(pair_steps.MapValues(f), preserves=True)

    def flatMapValues(self, f: Callable[[Any], Iterable[Any]]) -> "RDD[Any]":
        """A pair of the same key for each item of `f(value)`; keys stay where they are."""
        return self._step(pair_steps.FlatMapValues(f), preserves=True)

    # One value for each key

    def partitionBy(self, numPartitions: int | None, partitionFunc: PartitionFunc = portable_hash) -> "RDD[Any]":
        """The same pairs, each in partition `partitionFunc(key) % numPartitions`.

        Returns:
            This RDD itself, where that is how its keys lie already.

        Raises:
            ValueError: numPartitions is below 1.
        """
        partitioner = self._target(numPartitions, partitionFunc)
        if self.partitioner == partitioner:
            return self._self()
        return self._step(pair_steps.as_pairs)._shuffled(partitioner)

    def combineByKey(
        self,
        createCombiner: Callable[[Any], Any],
        mergeValue: Callable[[Any, Any], Any],
        mergeCombiners: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
        partitionFunc: PartitionFunc = portable_hash,
    ) -> "RDD[Any]":
        """Combine the values of each key: on the map side first, then what that gave.

        Args:
            createCombiner: Makes a combiner of a key's first value in a partition.
            mergeValue: Returns a combiner with one more value; may change its first argument.
            mergeCombiners: Returns two combiners as one; may change its first argument.
            numPartitions: Of the result; None: spark.default.parallelism if it is set, or as many as here.
            partitionFunc: As `partitionBy`.

        Raises:
            ValueError: numPartitions is below 1.
        """
        aggregator = Aggregator(createCombiner, mergeValue, mergeCombiners)
        return self._combined_by(aggregator, self._target(numPartitions, partitionFunc))

    def reduceByKey(
        self,
        func: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
        partitionFunc: PartitionFunc = portable_hash,
    ) -> "RDD[Any]":
        """Merge the values of each key with an associative, commutative function; on the map side first."""
        return self.combineByKey(steps.same, func, func, numPartitions, partitionFunc)

    def aggregateByKey(
        self,
        zeroValue: Any,
        seqFunc: Callable[[Any, Any], Any],
        combFunc: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
        partitionFunc: PartitionFunc = portable_hash,
    ) -> "RDD[Any]":
        """Merge the values of each key into a copy of a zero value, and what partitions gave with each other.

        Args:
            zeroValue: Where each key begins, in each partition.
            seqFunc: Merges a value into what there is; may change its first argument.
            combFunc: Merges two of those.
            numPartitions: As `combineByKey`.
            partitionFunc: As `partitionBy`.
        """
        create = pair_steps.FromZero(zeroValue, seqFunc)
        return self.combineByKey(create, seqFunc, combFunc, numPartitions, partitionFunc)

    def foldByKey(
        self,
        zeroValue: Any,
        func: Callable[[Any, Any], Any],
        numPartitions: int | None = None,
        partitionFunc: PartitionFunc = portable_hash,
    ) -> "RDD[Any]":
        """Merge the values of each key and a zero value, which may come in any number of times."""
        return self.aggregateByKey(zeroValue, func, func, numPartitions, partitionFunc)

    def groupByKey(self, numPartitions: int | None = None, partitionFunc: PartitionFunc = portable_hash) -> "RDD[Any]":
        """All values of each key, in order: (key, `ResultIterable`). For a sum or the like `reduceByKey` moves much less."""
        grouped = self._combined_by(pair_steps.GROUP, self._target(numPartitions, partitionFunc))
        return grouped._step(pair_steps.as_groups, preserves=True)

    # To the driver

    def reduceByKeyLocally(self, func: Callable[[Any, Any], Any]) -> dict[Any, Any]:
        """As `reduceByKey`, to the driver, as a dictionary.

        Raises:
            ValueError: There is not one partition.
        """
        parts = _some(self._run(pair_results.Merged(func)))
        return reduce(lambda merged, part: pair_results.merged_by(func, merged, iter(part.items())), parts)

    def countByKey(self) -> dict[Any, int]:
        """How many pairs each key has.

        Raises:
            ValueError: There is not one partition.
        """
        return _added(self._run(pair_results.counted_keys))

    def countByValue(self) -> dict[Any, int]:
        """How many times each item is there; of any RDD, not only of pairs.

        Raises:
            ValueError: There is not one partition.
        """
        return _added(self._run(pair_results.counted))

    def collectAsMap(self) -> dict[Any, Any]:
        """All pairs as a dictionary; of several with the same key, the last in order of partitions stays."""
        return dict(pair for part in self._run(results.as_list) for pair in part)

    def lookup(self, key: Any) -> list[Any]:
        """All values of a key. Only one partition is looked at, where it is known which that is."""
        found = self._step(pair_steps.ValuesOf(key))
        wanted = None if self.partitioner is None else [self._partition_of(key, self.partitioner)]
        return [value for part in found._run(results.as_list, wanted) for value in part]

    def _partition_of(self, key: Any, partitioner: Partitioner) -> int:
        """Where a key is, said by a worker if it could be otherwise there."""
        if partitioner.partitionFunc is portable_hash:
            here = partitioner(key)  # Also for the error, if it cannot be hashed.
            if is_same_everywhere(key):
                return here
        question = pair_results.PartitionOf(key, partitioner.partitionFunc, partitioner.numPartitions)
        [answer] = self.ctx.parallelize([None], 1)._run(question)
        return int(answer)

    def _combined_by(self, aggregator: Aggregator, partitioner: Partitioner) -> "RDD[Any]":
        if self.partitioner == partitioner:
            return self._step(CombineInPlace(aggregator), preserves=True)
        return self._shuffled(partitioner, aggregator=aggregator)


def _some(parts: list[Any]) -> list[Any]:
    if not parts:
        raise ValueError("Can not reduce() empty RDD")
    return parts


def _added(parts: list[dict[Any, int]]) -> dict[Any, int]:
    counts: dict[Any, int] = defaultdict(int)
    for part in _some(parts):
        for value, count in part.items():
            counts[value] += count
    return counts
