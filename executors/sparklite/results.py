"""Functions of result stages: (task, items) -> the value of a partition."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .task import Task


def as_list(task: "Task", items: Iterator[Any]) -> list[Any]:
    """`collect`."""
    return list(items)


def count(task: "Task", items: Iterator[Any]) -> int:
    """`count`."""
    return sum(1 for _ in items)
