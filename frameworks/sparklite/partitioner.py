"""How keys are placed: PySpark's `Partitioner`, a number of partitions and a function of the key."""

from collections.abc import Callable
from typing import Any

from mesolite.executors.sparklite.hashing import portable_hash


class Partitioner:
    """Key k goes to partition `partitionFunc(k) % numPartitions`. Two are equal where both are."""

    def __init__(self, numPartitions: int, partitionFunc: Callable[[Any], int] = portable_hash) -> None:
        self.numPartitions = numPartitions
        self.partitionFunc = partitionFunc

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Partitioner)
            and self.numPartitions == other.numPartitions
            and self.partitionFunc == other.partitionFunc
        )

    def __hash__(self) -> int:
        return hash((self.numPartitions, self.partitionFunc))

    def __call__(self, k: Any) -> int:
        """The partition of a key."""
        return self.partitionFunc(k) % self.numPartitions


def is_same_everywhere(key: Any) -> bool:
    """Whether all processes agree about a key's `portable_hash`: numbers, None and tuples of them, not text."""
    if isinstance(key, tuple):
        return all(is_same_everywhere(each) for each in key)
    return key is None or type(key) in (bool, int, float, complex)
