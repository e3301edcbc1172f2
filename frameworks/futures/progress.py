"""A progress bar in the terminal, on request."""

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


class ProgressBar:
    """Shows how many of the submitted calls have ended; from any thread.

    Args:
        title: What they are.
        console: Where it is drawn; None: the terminal.
    """

    def __init__(self, title: str, console: "Console | None" = None) -> None:
        # Not at the top: programs and dispatchers without a terminal are not to hold a megabyte and a half of it.
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._lock = threading.Lock()
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._progress = RichProgress(*columns, console=console)
        self._task = self._progress.add_task(title, total=0)
        self._total = 0
        self._shown = False

    def added(self, count: int) -> None:
        """See `session.Progress`."""
        with self._lock:
            if not self._shown:
                self._shown = True
                self._progress.start()
            self._total += count
            self._progress.update(self._task, total=self._total)

    def ended(self) -> None:
        """See `session.Progress`."""
        self._progress.advance(self._task)

    def close(self) -> None:
        """See `session.Progress`."""
        with self._lock:
            if self._shown:
                self._shown = False
                self._progress.stop()
