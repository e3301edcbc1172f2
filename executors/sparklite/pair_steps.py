"""Steps of operations on pairs, and what aggregators of groups are made of.

Values of several RDDs that are to meet under one key travel as (side, value), and are gathered in one flat list for each key:
[side, value, side, value, ...]. That takes 16 bytes for each value, where a tuple for each took five times as much, and grows
by `operator.iconcat`, which is C.
"""

import operator
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from .result_iterable import ResultIterable
from .shuffle_data import Aggregator

_KEY: Final = operator.itemgetter(0)
_VALUE: Final = operator.itemgetter(1)
#: Zero values of these types cannot be changed by the functions that get them, and need no copy.
_CONSTANT: Final = (type(None), bool, int, float, complex, str, bytes)

#: Keys of the right that are not sent again; some ten megabytes.
_REMEMBERED_KEYS: Final = 100_000

#: The values of one key, a list for each side.
Sides = list[list[Any]]


def listed(value: Any) -> list[Any]:
    """A combiner of a group: its first value."""
    return [value]


def appended(values: list[Any], value: Any) -> list[Any]:
    """A combiner of a group with another value."""
    values.append(value)
    return values


#: `groupByKey`: lists.
GROUP: Final = Aggregator(listed, appended, operator.iconcat)
#: `cogroup` and joins: flat lists of (side, value).
CO_GROUP: Final = Aggregator(list, operator.iconcat, operator.iconcat)


@dataclass(frozen=True, slots=True)
class FromZero:
    """An aggregator's `create`: the first value is merged into a copy of the zero value."""

    zero: Any
    function: Callable[[Any, Any], Any]

    def __call__(self, value: Any) -> Any:
        zero = self.zero
        return self.function(zero if isinstance(zero, _CONSTANT) else deepcopy(zero), value)


def keys(partition: int, items: Iterator[Any]) -> Iterator[Any]:
    """`keys`."""
    return map(_KEY, items)


def values(partition: int, items: Iterator[Any]) -> Iterator[Any]:
    """`values`."""
    return map(_VALUE, items)


def as_pairs(partition: int, items: Iterator[Any]) -> Iterator[Any]:
    """Before `partitionBy`: whatever has two items becomes a tuple, and what has more or fewer is refused."""
    return ((key, value) for key, value in items)


def as_groups(partition: int, items: Iterator[Any]) -> Iterator[Any]:
    """After the shuffle of `groupByKey`."""
    return ((key, ResultIterable(group)) for key, group in items)


@dataclass(frozen=True, slots=True)
class MapValues:
    """`mapValues`."""

    function: Callable[[Any], Any]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        function = self.function
        return ((pair[0], function(pair[1])) for pair in items)


@dataclass(frozen=True, slots=True)
class FlatMapValues:
    """`flatMapValues`."""

    function: Callable[[Any], Iterable[Any]]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        function = self.function
        return ((pair[0], value) for pair in items for value in function(pair[1]))


@dataclass(frozen=True, slots=True)
class ValuesOf:
    """`lookup`: values of one key."""

    key: Any

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        key = self.key
        return (pair[1] for pair in items if pair[0] == key)


@dataclass(frozen=True, slots=True)
class FromSide:
    """Before pairs of several RDDs meet: says of each value where it is from."""

    side: int

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        side = self.side
        return ((pair[0], (side, pair[1])) for pair in items)


def _sides(gathered: list[Any], count: int) -> Sides:
    """The values of each side, of a flat list of (side, value)."""
    sides: Sides = [[] for _ in range(count)]
    sources = iter(gathered)
    for side, value in zip(sources, sources, strict=True):
        sides[side].append(value)
    return sides


@dataclass(frozen=True, slots=True)
class CoGrouped:
    """`cogroup`: the values of each side."""

    sides: int

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        count = self.sides
        for key, gathered in items:
            yield key, tuple(map(ResultIterable, _sides(gathered, count)))


@dataclass(frozen=True, slots=True)
class Joined:
    """`join` and its outer kinds: each value of the left with each of the right.

    Args:
        all_left: A value of the left without any of the right goes with None (`leftOuterJoin`).
        all_right: The same of the right.
    """

    all_left: bool = False
    all_right: bool = False

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        all_left, all_right = self.all_left, self.all_right
        for key, gathered in items:
            # One value of each side is what most keys of most joins have.
            if len(gathered) == 4 and gathered[0] < gathered[2]:
                yield key, (gathered[1], gathered[3])
                continue
            left, right = _sides(gathered, 2)
            if all_left and not right:
                right.append(None)
            if all_right and not left:
                left.append(None)
            for value in left:
                for other in right:
                    yield key, (value, other)


def without_right(partition: int, items: Iterator[Any]) -> Iterator[Any]:
    """`subtractByKey`: pairs of the left whose key the right has not."""
    for key, gathered in items:
        if 1 not in gathered[::2]:
            for value in gathered[1::2]:
                yield key, value


def only_keys_of_right(partition: int, items: Iterator[Any]) -> Iterator[Any]:
    """Before `subtractByKey`: of the right nothing but keys need travel, and those that come often only now and then."""
    nothing = (1, None)
    sent: set[Any] = set()
    for pair in items:
        key = pair[0]
        if key not in sent:
            if len(sent) >= _REMEMBERED_KEYS:
                sent.clear()
            sent.add(key)
            yield key, nothing
