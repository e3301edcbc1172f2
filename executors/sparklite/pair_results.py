"""Functions of result stages over pairs and values: (task, items) -> the value of a partition."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .task import Task


def merged_by(function: Callable[[Any, Any], Any], into: dict[Any, Any], pairs: Iterator[Any]) -> dict[Any, Any]:
    """Merge pairs into a dictionary and return it.

    Raises:
        RuntimeError: The function raised StopIteration, which a loop of the program could take for its end.
    """
    try:
        for key, value in pairs:
            into[key] = function(into[key], value) if key in into else value
    except StopIteration as stop:
        raise RuntimeError("Caught StopIteration thrown from user's code") from stop
    return into


@dataclass(frozen=True, slots=True)
class Merged:
    """`reduceByKeyLocally`: one value for each key of the partition."""

    function: Callable[[Any, Any], Any]

    def __call__(self, task: "Task", items: Iterator[Any]) -> dict[Any, Any]:
        return merged_by(self.function, {}, items)


def counted(task: "Task", items: Iterator[Any]) -> dict[Any, int]:
    """`countByValue`: how often each item comes."""
    return dict(Counter(items))


def counted_keys(task: "Task", items: Iterator[Any]) -> dict[Any, int]:
    """`countByKey`: how often each key comes."""
    return dict(Counter(map(itemgetter(0), items)))


@dataclass(frozen=True, slots=True)
class PartitionOf:
    """`lookup`: where a key is. Asked of a worker, because hashes of text are not the same on the driver."""

    key: Any
    partition_of: Callable[[Any], int]
    partitions: int

    def __call__(self, task: "Task", items: Iterator[Any]) -> int:
        return self.partition_of(self.key) % self.partitions
