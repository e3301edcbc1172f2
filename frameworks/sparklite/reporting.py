"""What a context says of itself: progress bars, the job report, the status tracker.

What draws is imported when something is drawn: a context shall be there at once.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from mesolite.logs import get_logger

from .conf import SparkConf
from .context_base import ContextBase
from .listener import SparkEvent, SparkListener
from .recorder import Recorder
from .status_tracker import StatusTracker

if TYPE_CHECKING:
    from ..futures.connection import ClusterPlace
    from .report.reports import Reports

#: Names the file that the page is written to when the context is stopped.
REPORT_KEY: Final = "spark.mesolite.report"
PROGRESS_KEY: Final = "spark.ui.showConsoleProgress"
#: New tasks, stages and jobs a second that are shown in Flower; 0: none ever. Each is three events, and Flower follows some
#: 2,000 events a second from all who send any.
FLOWER_KEY: Final = "spark.mesolite.flower.tasks_per_second"
DEFAULT_FLOWER_PER_S: Final = 100.0
MAX_FLOWER_PER_S: Final = 600.0

_log = get_logger("mesolite.sparklite")


def progress_wanted(setting: str | None, stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether bars are to be drawn.

    Args:
        setting: `spark.ui.showConsoleProgress`; None where it is not set: then they are where somebody can see them. (Spark's
            default is false for programs and true in its shell, because its bars would fill logs. These never do.)
        stream: Where they would be drawn; never, if that is no terminal.
        environment: NO_COLOR (https://no-color.org) and TERM=dumb switch them off where the setting does not ask for them.
    """
    if not stream.isatty() or (setting or "").strip().lower() == "false":
        return False
    plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return setting is not None or not plain


class Reporting(ContextBase):
    """Part of `SparkContext`. Whoever makes the context tells `own_listeners` what happens, in their order."""

    def __init__(self, conf: SparkConf) -> None:
        super().__init__(conf)
        self._recorder = Recorder()
        self._began_ms = time.time_ns() // 1_000_000

    def statusTracker(self) -> StatusTracker:
        """Return what answers questions about running jobs and stages."""
        return StatusTracker(self._recorder)

    def report(self, json: bool = False) -> str | None:
        """Print tables of the jobs so far: stages, tasks, failures, shuffles, skew, slow tasks, memory. Works after `stop`, too.

        Args:
            json: Return all figures as JSON instead (`report.summary.Report`).
        """
        reports = self._reports()
        if json:
            return reports.json()
        reports.show()
        return None

    def saveReport(self, path: str) -> None:
        """Write the report as a page: one HTML file that needs nothing else. Works after `stop`, too.

        Raises:
            OSError: It cannot be written.
        """
        self._reports().save(path)

    def own_listeners(self, place: "ClusterPlace | None" = None, app_id: str = "") -> list[SparkListener]:
        """Return who has to hear what happens, the recorder first.

        Args:
            place: The cluster, whose Flower is told; None: there is none.
            app_id: The application's, for Flower.

        Raises:
            ValueError: A setting cannot be read.
        """
        listeners: list[SparkListener] = [self._recorder]
        if progress_wanted(self._conf.get(PROGRESS_KEY), sys.stderr):
            from .progress import ConsoleProgress

            listeners.append(ConsoleProgress(self._recorder))
        shown_per_s = self._flower_rate()
        if place is not None and shown_per_s:
            from .flower import FlowerListener

            listeners.append(FlowerListener(place.redis_url, place.cluster, app_id, self._recorder, shown_per_s))
        path = self._conf.get(REPORT_KEY)
        if path:
            listeners.append(SavedAtTheEnd(self.saveReport, Path(path).absolute()))
        return listeners

    def _flower_rate(self) -> float:
        setting = self._conf.get(FLOWER_KEY) or str(DEFAULT_FLOWER_PER_S)
        try:
            rate = float(setting)
        except ValueError:
            rate = -1.0
        if rate != 0 and not 1 <= rate <= MAX_FLOWER_PER_S:
            raise ValueError(
                f"{FLOWER_KEY} is {setting!r}: give 0 (nothing is shown) or a number from 1 to {MAX_FLOWER_PER_S:g}"
            )
        return rate

    def _reports(self) -> "Reports":
        from .report.reports import Reports
        from .report.summary import Application

        application = Application(
            name=self._conf.get("spark.app.name") or "",
            app_id=self._conf.get("spark.app.id") or "",
            master=self._conf.get("spark.master") or "",
            began_ms=self._began_ms,
        )
        return Reports(self._recorder, application)


class SavedAtTheEnd:
    """A `SparkListener` that writes the page when the context was stopped."""

    def __init__(self, save: Callable[[str], None], path: Path) -> None:
        self._save: Final = save
        self._path: Final = path

    def heard(self, event: SparkEvent) -> None:
        """Nothing: all is recorded."""

    def close(self) -> None:
        """Write it. A disk that is full takes no result away from the program."""
        try:
            self._save(str(self._path))
        except OSError as error:
            _log.warning("sparklite.report_not_saved", path=str(self._path), error=str(error))
