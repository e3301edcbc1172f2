"""Deadlines of tasks: cheap to set, never unset.

A deadline that no longer matters stays in the heap and is recognised as void by whoever set it, because taking it out of
the middle would cost more than skipping it later. Void ones are swept out whenever they may have become the majority, so
that memory follows the live tasks, and the cost of sweeping is spread over the settings in between.
"""

import heapq
from collections.abc import Callable
from typing import Final, Generic, TypeVar

_Thing = TypeVar("_Thing")

#: Below this many deadlines nothing is swept: it would not be noticed.
MIN_SWEPT: Final = 1024


class Timers(Generic[_Thing]):
    """Deadlines, each of a thing."""

    def __init__(self, matters: Callable[[int, _Thing], bool]) -> None:
        """Start empty.

        Args:
            matters: Tells whether a deadline still means something to its thing.
        """
        self._matters: Final = matters
        self._heap: list[tuple[int, int, _Thing]] = []
        #: Breaks ties in order of setting, so that things are never compared.
        self._count = 0
        self._sweep_at = MIN_SWEPT

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_due_ms(self) -> int | None:
        """The earliest deadline, which may be void."""
        return self._heap[0][0] if self._heap else None

    def set(self, due_ms: int, thing: _Thing) -> None:
        """Add a deadline; those the thing has already stand."""
        self._count += 1
        heapq.heappush(self._heap, (due_ms, self._count, thing))
        if len(self._heap) >= self._sweep_at:
            self._sweep()

    def take_due(self, now_ms: int) -> list[tuple[int, _Thing]]:
        """Take out all deadlines up to now and return, in order, those that still matter."""
        due: list[tuple[int, _Thing]] = []
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, _, thing = heapq.heappop(self._heap)
            if self._matters(due_ms, thing):
                due.append((due_ms, thing))
        return due

    def _sweep(self) -> None:
        self._heap = [entry for entry in self._heap if self._matters(entry[0], entry[2])]
        heapq.heapify(self._heap)
        self._sweep_at = max(MIN_SWEPT, 2 * len(self._heap))
