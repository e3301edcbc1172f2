"""Functions of result stages: (task, items) -> the value of a partition. They are pickled by name, as steps are.

A stage's code is unpickled once in a worker and used for many partitions, so whatever a user's function may change in place is
copied first.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import reduce
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .task import Task


def as_list(task: "Task", items: Iterator[Any]) -> list[Any]:
    """`collect`."""
    return list(items)


def count(task: "Task", items: Iterator[Any]) -> int:
    """`count`."""
    return sum(1 for _ in items)


@dataclass(frozen=True, slots=True)
class Take:
    """The first items, as many as that."""

    most: int

    def __call__(self, task: "Task", items: Iterator[Any]) -> list[Any]:
        return list(islice(items, self.most))


@dataclass(frozen=True, slots=True)
class Reduce:
    """`reduce`: a list of one value, or of none where there are no items."""

    function: Callable[[Any, Any], Any]

    def __call__(self, task: "Task", items: Iterator[Any]) -> list[Any]:
        for first in items:
            return [reduce(self.function, items, first)]
        return []


@dataclass(frozen=True, slots=True)
class Fold:
    """`fold` and `aggregate`: all items merged into a copy of zero."""

    zero: Any
    function: Callable[[Any, Any], Any]

    def __call__(self, task: "Task", items: Iterator[Any]) -> Any:
        return reduce(self.function, items, deepcopy(self.zero))


@dataclass(frozen=True, slots=True)
class Each:
    """`foreach`."""

    function: Callable[[Any], Any]

    def __call__(self, task: "Task", items: Iterator[Any]) -> None:
        function = self.function
        for item in items:
            function(item)


@dataclass(frozen=True, slots=True)
class EachPartition:
    """`foreachPartition`: a generator that the function returns is run to its end."""

    function: Callable[[Iterator[Any]], Any]

    def __call__(self, task: "Task", items: Iterator[Any]) -> None:
        returned = self.function(items)
        if hasattr(returned, "__iter__"):
            deque(returned, maxlen=0)


@dataclass(frozen=True, slots=True)
class Best:
    """`max` and `min` by a key: a list of one item, or of none."""

    choose: Callable[..., Any]
    key: Callable[[Any], Any] | None

    def __call__(self, task: "Task", items: Iterator[Any]) -> list[Any]:
        for first in items:
            return [self.choose(chain((first,), items), key=self.key)]
        return []


@dataclass(frozen=True, slots=True)
class Smallest:
    """`takeOrdered`: the smallest items in order, as many as that."""

    most: int
    key: Callable[[Any], Any] | None

    def __call__(self, task: "Task", items: Iterator[Any]) -> list[Any]:
        return heapq.nsmallest(self.most, items, key=self.key)


@dataclass(frozen=True, slots=True)
class Largest:
    """`top`: the largest items, largest first, as many as that."""

    most: int
    key: Callable[[Any], Any] | None

    def __call__(self, task: "Task", items: Iterator[Any]) -> list[Any]:
        return heapq.nlargest(self.most, items, key=self.key)
