"""What the partitions of an RDD hold: for tests, without relying on the operation that is made for it."""

from collections.abc import Iterable, Iterator
from typing import Any

from mesolite.frameworks.sparklite import RDD


def parts(rdd: RDD[Any]) -> list[list[Any]]:
    """The items of each partition."""
    return rdd.mapPartitionsWithIndex(_whole).collect()


def _whole(_: int, items: Iterator[Any]) -> list[list[Any]]:
    return [list(items)]


def lists(groups: Iterable[Iterable[Any]]) -> tuple[list[Any], ...]:
    """Groups of one key that can be compared and shown."""
    return tuple(map(list, groups))
