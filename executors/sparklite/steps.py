"""The steps of operations (`Step.function`): objects that are pickled by name, with the user's functions in them.

Each is called once for a partition and returns an iterator, so that a chain of them goes item by item, and as much as possible
of the way in C.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any


def same(value: Any) -> Any:
    """What comes goes."""
    return value


@dataclass(frozen=True, slots=True)
class Map:
    """`map`."""

    function: Callable[[Any], Any]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return map(self.function, items)


@dataclass(frozen=True, slots=True)
class FlatMap:
    """`flatMap`."""

    function: Callable[[Any], Iterable[Any]]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return chain.from_iterable(map(self.function, items))


@dataclass(frozen=True, slots=True)
class Filter:
    """`filter`."""

    function: Callable[[Any], Any]

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return filter(self.function, items)
