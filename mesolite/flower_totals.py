"""Takes up what senders of events have counted (`transport/event_tally`), for Flower's figures.

What a sender says are sums since its life began. The differences to what it said before go into Flower's counters; the first word
of a life goes in whole, so that a Flower that has just begun, or was deaf, counts what happened before too.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

import msgspec

from mesolite.transport.event_tally import CELL_BOUNDS

#: Lives of senders remembered, the latest heard: more than there are dispatchers at a time, some 100 KB each. One that was
#: forgotten and is heard again would be counted again.
MAX_LIVES: Final = 200


class TallyRow(TypedDict):
    """One worker's tasks of one name."""

    worker: str
    task: str
    counts: dict[str, int]
    #: Runtimes: the cell's number, how many, their sum in seconds.
    cells: list[tuple[int, int, float]]
    waiting: int
    waited_s: float


class Tally(TypedDict):
    """What one event says."""

    hostname: str
    life: str
    rows: list[TallyRow]


@dataclass(slots=True, kw_only=True)
class Grown:
    """What was added to one row."""

    worker: str
    task: str
    counts: dict[str, int] = field(default_factory=dict[str, int])
    #: How many tasks ran so many seconds.
    runtimes: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    #: More that wait, or fewer.
    waiting: int = 0
    waited_s: float = 0.0


class TallyBook:
    """What each life said last."""

    def __init__(self) -> None:
        self._lives: Final[OrderedDict[str, dict[tuple[str, str], TallyRow]]] = OrderedDict()
        #: The life that each sender's name has now.
        self._current: Final[dict[str, str]] = {}

    def take(self, event: Mapping[str, object]) -> list[Grown]:
        """Return what is new; nothing where the event says nothing that could be understood."""
        try:
            tally = msgspec.convert(event, Tally, strict=False)
        except msgspec.ValidationError:
            return []
        grown = self._succeeded(tally["hostname"], tally["life"])
        rows = self._lives.setdefault(tally["life"], {})
        self._lives.move_to_end(tally["life"])
        if len(self._lives) > MAX_LIVES:
            gone, _ = self._lives.popitem(last=False)
            for name in [name for name, life in self._current.items() if life == gone]:
                del self._current[name]
        for row in tally["rows"]:
            key = row["worker"], row["task"]
            grown.append(_grown(row, rows.get(key)))
            rows[key] = row
        return grown

    def _succeeded(self, sender: str, life: str) -> list[Grown]:
        """Where a sender has a new life: what waited in the last does not any more, though nobody may have said so."""
        last, self._current[sender] = self._current.get(sender), life
        if last is None or last == life:
            return []
        grown: list[Grown] = []
        for (worker, task), row in self._lives.get(last, {}).items():
            if row["waiting"]:
                grown.append(Grown(worker=worker, task=task, waiting=-row["waiting"]))
                row["waiting"] = 0
        return grown


def _grown(row: TallyRow, before: TallyRow | None) -> Grown:
    old_counts = before["counts"] if before is not None else {}
    counts = {kind: more for kind, count in row["counts"].items() if (more := count - old_counts.get(kind, 0)) > 0}
    old_cells = {index: (tasks, sum_s) for index, tasks, sum_s in before["cells"]} if before is not None else {}
    runtimes: list[tuple[float, int]] = []
    for index, tasks, sum_s in row["cells"]:
        old_tasks, old_sum_s = old_cells.get(index, (0, 0.0))
        if tasks > old_tasks and 0 <= index <= len(CELL_BOUNDS):
            runtimes.append((_inside((sum_s - old_sum_s) / (tasks - old_tasks), index), tasks - old_tasks))
    waiting = row["waiting"] - (before["waiting"] if before is not None else 0)
    return Grown(
        worker=row["worker"],
        task=row["task"],
        counts=counts,
        runtimes=runtimes,
        waiting=waiting,
        waited_s=row["waited_s"],
    )


def _inside(mean_s: float, index: int) -> float:
    """Keep a mean within its cell: the difference of two large sums is a little off."""
    least = CELL_BOUNDS[index - 1] if index else 0.0
    most = CELL_BOUNDS[index] if index < len(CELL_BOUNDS) else math.inf
    return min(most, max(math.nextafter(least, math.inf), mean_s))


class FlowerFigures:
    """Flower's counters, as its own events change them: what its page of workers shows, and what Prometheus reads.

    Args:
        state: Flower's `EventsState`. Used from Flower's thread alone.
    """

    def __init__(self, state: Any) -> None:
        self._state: Final = state

    def add(self, grown: Grown) -> None:
        """Count what was added."""
        metrics, labels = self._state.metrics, (grown.worker, grown.task)
        for kind, count in grown.counts.items():
            self._state.counter[grown.worker][kind] += count
            metrics.events.labels(grown.worker, kind, grown.task).inc(count)
        for runtime_s, tasks in grown.runtimes:
            observe(metrics.runtime.labels(*labels), runtime_s, tasks)
        if grown.waiting:
            metrics.number_of_prefetched_tasks.labels(*labels).inc(grown.waiting)
        if grown.counts:
            metrics.prefetch_time.labels(*labels).set(grown.waited_s)

    def uncounted(self, event: Mapping[str, Any], take: Callable[[Mapping[str, Any]], object]) -> None:
        """Let Flower take an event in without counting it: whoever sent it counts for itself."""
        metrics, self._state.metrics = self._state.metrics, _NoMetrics()
        try:
            take(event)
            self._state.counter[event["hostname"]][event["type"]] -= 1
        finally:
            self._state.metrics = metrics


class _NoMetrics:
    """Observes nothing."""

    def observe_task(self, worker: str, event: object, task: object) -> None:
        """See Flower's `PrometheusMetrics`."""

    def observe_worker(self, worker: str, event: object) -> None:
        """See Flower's `PrometheusMetrics`."""


def observe(histogram: Any, value: float, times: int) -> None:
    """Let a Prometheus histogram observe a value many times.

    Its own `observe` would take seconds, in Flower's only thread, for the millions of a dispatcher's life; where its inside is
    not as it was known when this was written, it is used all the same.
    """
    try:
        bounds, buckets, total = histogram._upper_bounds, histogram._buckets, histogram._sum
    except AttributeError:
        for _ in range(times):
            histogram.observe(value)
        return
    total.inc(value * times)
    for bound, bucket in zip(bounds, buckets, strict=True):
        if value <= bound:
            bucket.inc(times)
            return
