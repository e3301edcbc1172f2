"""The function of `SparkContext.runJob`'s stage."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .task import Task


@dataclass(frozen=True, slots=True)
class RunJob:
    """A user's function of a partition's items: all that it yields."""

    function: Callable[[Iterator[Any]], Iterable[Any]]

    def __call__(self, task: "Task", items: Iterator[Any]) -> list[Any]:
        return list(self.function(items))
