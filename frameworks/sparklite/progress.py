"""Progress bars in the terminal: one for each stage that runs, gone when none does.

Drawn on standard error, so that a program's output stays its own. A thread draws; listeners only count. Stages that are over
before `FIRST_AFTER_MS` are never shown, so short jobs leave the terminal alone.
"""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from .history import History
from .listener import SparkEvent, StageBegan, StageFinished
from .recorder import Recorder
from .records import DONE, StageRecord
from .report.figures import duration

#: A stage is shown when it has run so long, as Spark's bar has it (ConsoleProgressBar).
FIRST_AFTER_MS: Final = 500
#: `spark.ui.consoleProgress.update.interval`.
UPDATE_EVERY_MS: Final = 200
#: Bars at the same time; the others are counted.
MAX_BARS: Final = 8
#: Columns that everything but a stage's name takes: bar, counts, time, failures.
FIGURES_WIDTH: Final = 62
MIN_NAME_CHARS: Final = 12
#: Columns of the bar itself.
BAR_WIDTH: Final = 20
#: How long `close` waits for the last drawing.
CLOSE_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A stage as its bar shows it."""

    name: str
    done: int
    active: int
    failed: int
    total: int
    running_ms: int


def bars(history: History, now_ms: int) -> list[Bar]:
    """Return what is to be drawn now, in the order in which stages began."""
    workers = sum(each.workers for each in history.executors.values() if each.ended_ms is None)
    old = [stage for stage in history.active_stages() if now_ms - stage.began.at_ms >= FIRST_AFTER_MS]
    return [_bar(stage, workers, now_ms) for stage in old]


def _bar(stage: StageRecord, workers: int, now_ms: int) -> Bar:
    began, done = stage.began, stage.outcomes[DONE]
    again = f".{began.attempt}" if began.attempt else ""
    return Bar(
        name=f"stage {began.stage_id}{again}  {began.name}",
        done=min(done, began.tasks),
        # Executors hold a few tasks more than they have workers.
        active=min(stage.active, workers or stage.active),
        failed=stage.ended_tasks - done - stage.outcomes["killed"],
        total=began.tasks,
        running_ms=now_ms - began.at_ms,
    )


def drawn(shown: list[Bar], width: int) -> Table:
    """Return the bars as a terminal of this width shows them, each in one line."""
    room = max(MIN_NAME_CHARS, width - FIGURES_WIDTH)
    table = Table.grid(padding=(0, 1))
    for bar in shown[:MAX_BARS]:
        failed = f"[red]{bar.failed} failed[/red]" if bar.failed else ""
        figures = f"{bar.done}/{bar.total}", f"[dim]{bar.active} running[/dim]", duration(bar.running_ms)
        name = bar.name if len(bar.name) <= room else bar.name[: room - 1] + "…"
        line = ProgressBar(total=max(1, bar.total), completed=bar.done, width=BAR_WIDTH)
        table.add_row(escape(name), line, *figures, failed)
    if len(shown) > MAX_BARS:
        table.add_row(f"[dim]and {len(shown) - MAX_BARS} more stages[/dim]")
    return table


class ConsoleProgress:
    """A `SparkListener` that draws.

    Args:
        recorder: What is known of stages; it must hear events before this does.
        console: Where it is drawn.
        wall_clock_ms: The clock of events.
    """

    def __init__(
        self,
        recorder: Recorder,
        console: Console | None = None,
        wall_clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._recorder: Final = recorder
        self._console: Final = console or Console(stderr=True)
        self._wall_clock_ms: Final = wall_clock_ms
        self._changed: Final = threading.Condition()
        #: A stage began or ended since the drawing thread looked.
        self._news = False
        self._closing = False
        #: Begins with the first stage: most contexts that are never used never need it.
        self._thread: threading.Thread | None = None
        self._live: Live | None = None

    def heard(self, event: SparkEvent) -> None:
        """See `SparkListener`."""
        if not isinstance(event, StageBegan | StageFinished):
            return
        with self._changed:
            self._news = True
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="sparklite progress", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Clear what is drawn."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)

    def draw(self) -> bool:
        """Draw, or clear where nothing is to be drawn; say whether a stage runs."""
        now_ms = self._wall_clock_ms()

        def look(history: History) -> tuple[list[Bar], bool]:
            return bars(history, now_ms), bool(history.active_stages())

        shown, runs = self._recorder.read(look)
        if not shown:
            self._clear()
        else:
            if self._live is None:
                self._live = self._start()
            self._live.update(drawn(shown, self._console.width), refresh=True)
        return runs

    def _run(self) -> None:
        """Draw at news, and every UPDATE_EVERY_MS while a stage runs."""
        runs = False
        while True:
            with self._changed:
                pause_s = UPDATE_EVERY_MS / 1000 if runs else None
                self._changed.wait_for(lambda: self._closing or self._news, pause_s)
                self._news = False
                if self._closing:
                    break
            runs = self.draw()
        self._clear()

    def _start(self) -> Live:
        # What the program prints goes above the bars, where it goes to the same terminal; a pipe's output stays its own.
        both = self._console.is_terminal and sys.stdout.isatty()
        live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=both, redirect_stderr=both
        )
        live.start()
        return live

    def _clear(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
