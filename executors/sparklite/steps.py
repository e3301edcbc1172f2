"""The steps of operations (`Step.function`): objects that are pickled by name, with the user's functions in them.

Each is called once for a partition and returns an iterator, so that a chain of them goes item by item, and as much as possible
of the way in C.

A user's function that raises StopIteration by mistake would look to `map` like the end of the items, and what is left of the
partition would be lost without a word. `Guard` finds that out at no cost for each item: it sees whether the items themselves
came to their end.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain, count, repeat
from operator import itemgetter
from typing import Any


def same(value: Any) -> Any:
    """What comes goes."""
    return value


def earlier(value: Any, other: Any) -> Any:
    """The first of two: how `distinct` merges."""
    return value


class Guard:
    """Tells the end of the items from a StopIteration that escaped from a user's function."""

    def __init__(self) -> None:
        self._at_end = False

    def __call__(self, apply: Callable[[Iterator[Any]], Iterator[Any]], items: Iterator[Any]) -> Iterator[Any]:
        """Return `apply(items)`, which is a pipe in C that calls the user's function for each."""
        return chain(apply(chain(items, self._end())), self._check())

    def _end(self) -> Iterator[Any]:
        self._at_end = True
        yield from ()

    def _check(self) -> Iterator[Any]:
        if not self._at_end:
            raise RuntimeError(
                "StopIteration was raised by a function that was called for each item, and would have ended the partition "
                "too early: give next() a default, or catch it"
            )
        yield from ()


@dataclass(frozen=True, slots=True)
class Map:
    """`map`."""

    function: Callable[[Any], Any]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return Guard()(lambda source: map(self.function, source), items)


@dataclass(frozen=True, slots=True)
class FlatMap:
    """`flatMap`."""

    function: Callable[[Any], Iterable[Any]]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return chain.from_iterable(Guard()(lambda source: map(self.function, source), items))


@dataclass(frozen=True, slots=True)
class Filter:
    """`filter`."""

    function: Callable[[Any], Any]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return Guard()(lambda source: filter(self.function, source), items)


@dataclass(frozen=True, slots=True)
class Partitions:
    """`mapPartitions`: the function sees the items and not the partition's number."""

    function: Callable[[Iterator[Any]], Iterable[Any]]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterable[Any]:
        return self.function(items)


@dataclass(frozen=True, slots=True)
class KeyBy:
    """`keyBy`: (f(item), item)."""

    function: Callable[[Any], Any]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        function = self.function
        return ((function(item), item) for item in items)


@dataclass(frozen=True, slots=True)
class With:
    """(item, value) with the same value for all: a set's items as keys."""

    value: Any

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return zip(items, repeat(self.value))


@dataclass(frozen=True, slots=True)
class Part:
    """One place of each item, which is a tuple: keys are at 0, values at 1."""

    place: int

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return map(itemgetter(self.place), items)


@dataclass(frozen=True, slots=True)
class Glom:
    """`glom`: one list."""

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return iter([list(items)])


@dataclass(frozen=True, slots=True)
class Numbered:
    """`zipWithIndex`: (item, number), counted on from where the partition begins."""

    starts: Sequence[int]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return zip(items, count(self.starts[partition]))


@dataclass(frozen=True, slots=True)
class Unique:
    """`zipWithUniqueId`: (item, number) with numbers k, k + n, k + 2n of partition k of n."""

    partitions: int

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return zip(items, count(partition, self.partitions))


@dataclass(frozen=True, slots=True)
class InBoth:
    """The keys of cogrouped pairs that have values on all sides."""

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return (key for key, sides in items if all(sides))


@dataclass(frozen=True, slots=True)
class Aggregated:
    """One value of all items, beginning with a copy of zero: how a tree begins."""

    zero: Any
    function: Callable[[Any, Any], Any]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        value = deepcopy(self.zero)
        for item in items:
            value = self.function(value, item)
        yield value


@dataclass(frozen=True, slots=True)
class ToBranch:
    """(partition modulo the number of branches, item): a level of a tree."""

    branches: int

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return zip(repeat(partition % self.branches), items)


@dataclass(frozen=True, slots=True)
class Reducing:
    """A function of two items as one of two (item, is nothing): `treeReduce`."""

    function: Callable[[Any, Any], Any]

    def __call__(self, left: tuple[Any, bool], right: tuple[Any, bool]) -> tuple[Any, bool]:
        if left[1]:
            return right
        if right[1]:
            return left
        return self.function(left[0], right[0]), False
