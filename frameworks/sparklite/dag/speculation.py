"""Which tasks are so slow that a second copy is worth its worker (Spark's TaskSetManager.checkSpeculatableTasks)."""

from math import floor

from .books import Books
from .records import Run


class Speculation:
    """Looks at running stages, every `speculation_interval_ms`."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._next_ms = 0

    def deadline_ms(self) -> int | None:
        """When to look next; None: there is nothing to look at."""
        return self._next_ms if self._books.settings.speculation and self._books.running else None

    def look(self) -> None:
        """Mark the slow ones, if it is time."""
        books = self._books
        if not books.settings.speculation or books.now_ms < self._next_ms:
            return
        self._next_ms = books.now_ms + books.settings.speculation_interval_ms
        for stage_id in sorted(books.runs):
            self._mark(books.runs[stage_id])

    def _mark(self, run: Run) -> None:
        settings, finished = self._books.settings, len(run.took_ms)
        tasks = finished + run.left
        if run.is_barrier or tasks < 2 or finished < max(1, floor(settings.speculation_quantile * tasks)):
            return
        usual_ms = run.took_ms[finished // 2]
        limit_ms = max(settings.speculation_multiplier * usual_ms, settings.speculation_min_ms)
        slow = [
            slot
            for slot, copies in run.running.items()
            if len(copies) == 1
            and copies[0].began_ms is not None
            and self._books.now_ms - copies[0].began_ms > limit_ms
        ]
        if slow:
            run.slow |= dict.fromkeys(sorted(slow))
            self._books.rank(run)
