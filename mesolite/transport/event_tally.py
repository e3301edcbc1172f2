"""Counts tasks for Flower's figures, those that are not shown too, so that its Prometheus metrics are right whatever is left out.

Events are sampled where there are many, and lost where the broker is away; a monitor that counts events would count neither.
So who sends events also counts, and says now and then how many there have been: sums since its beginning, not differences, so
that a word that was lost is made good by the next. `mesolite flower` (`flower_totals.py`) takes its figures from these; any
other listener ignores the kind of event.
"""

import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from .event_repeats import Event

#: The kind of event. Celery's own are `task-...` and `worker-...`; what begins otherwise nobody takes for news of a task.
TALLY_EVENT: Final = "mesolite-tally"

#: Worker and task pairs counted apart; further ones are counted together. Each is some ten time series in Prometheus.
MAX_ROWS: Final = 5_000
OTHERS: Final = "(other)"
#: Rows in one event: some 20 KB as a rule, at most 300 KB.
MAX_ROWS_AT_ONCE: Final = 100

#: Runtimes are summed in cells with these upper bounds, in seconds. They hold the bounds of Prometheus's own default buckets, and
#: those that people choose (0.3, 15, 60, 300): no runtime crosses such a bound by being summed with its neighbours.
CELL_BOUNDS: Final = tuple(
    digit * 10.0**power / 100
    for power in range(-3, 5)
    for digit in (100, 125, 150, 175, 200, 250, 300, 400, 500, 600, 750, 800, 900)
)


class Cell(NamedTuple):
    """The runtimes between two bounds."""

    tasks: int
    sum_s: float


@dataclass(slots=True)
class _Row:
    counts: dict[str, int] = field(default_factory=dict[str, int])
    cells: dict[int, Cell] = field(default_factory=dict[int, Cell])
    waiting: int = 0
    waited_s: float = 0.0


class EventTally:
    """The sums of one sender. Every method may be called from any thread.

    Args:
        life: Names this sender's life: sums begin at nothing with each.
    """

    def __init__(self, life: str) -> None:
        self._life: Final = life
        self._lock: Final = threading.Lock()
        self._rows: Final[dict[tuple[str, str], _Row]] = {}
        #: Rows with something to say, oldest change first.
        self._changed: Final[dict[tuple[str, str], None]] = {}

    def count(self, worker: str, task: str, kind: str, runtime_s: float | None = None) -> None:
        """One more event of a kind, and how long the task ran where the event says that."""
        with self._lock:
            row = self._row(worker, task)
            row.counts[kind] = row.counts.get(kind, 0) + 1
            # As Flower does: what took no time at all has no runtime.
            if runtime_s:
                index = bisect_left(CELL_BOUNDS, runtime_s)
                tasks, sum_s = row.cells.get(index, Cell(0, 0.0))
                row.cells[index] = Cell(tasks + 1, sum_s + runtime_s)

    def waits(self, worker: str, task: str, change: int) -> None:
        """So many more wait at a worker, or fewer."""
        with self._lock:
            self._row(worker, task).waiting += change

    def waited(self, worker: str, task: str, seconds: float) -> None:
        """The task that began last has waited so long; 0 when one has ended."""
        with self._lock:
            self._row(worker, task).waited_s = seconds

    def say_all(self) -> None:
        """Somebody listens anew: all is to be said again."""
        with self._lock:
            self._changed.update(dict.fromkeys(self._rows))

    def take(self) -> Event | None:
        """Return what changed, or as much of it as is said at once; None where nothing did."""
        with self._lock:
            keys = list(self._changed)[:MAX_ROWS_AT_ONCE]
            for key in keys:
                del self._changed[key]
            rows = [_said(key, self._rows[key]) for key in keys]
        return (TALLY_EVENT, {"life": self._life, "rows": rows}) if rows else None

    def total(self, kind: str) -> int:
        """How many events of a kind there have been."""
        with self._lock:
            return sum(row.counts.get(kind, 0) for row in self._rows.values())

    def _row(self, worker: str, task: str) -> _Row:
        key = (worker, task)
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= MAX_ROWS:
                key = (OTHERS, OTHERS)
            row = self._rows.setdefault(key, _Row())
        self._changed[key] = None
        return row


def _said(key: tuple[str, str], row: _Row) -> dict[str, object]:
    return {
        "worker": key[0],
        "task": key[1],
        "counts": dict(row.counts),
        "cells": [(index, cell.tasks, cell.sum_s) for index, cell in sorted(row.cells.items())],
        "waiting": row.waiting,
        "waited_s": row.waited_s,
    }
