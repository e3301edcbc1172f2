"""What a context says of itself: progress bars, the job report, the status tracker."""

import sys
import time
from pathlib import Path
from typing import Final

from mesolite.logs import get_logger

from .conf import SparkConf
from .context_base import ContextBase
from .listener import SparkEvent, SparkListener
from .progress import ConsoleProgress, wanted
from .recorder import Recorder
from .report.reports import Reports
from .report.summary import Application
from .status_tracker import StatusTracker

#: Names the file that the page is written to when the context is stopped.
REPORT_KEY: Final = "spark.mesolite.report"
PROGRESS_KEY: Final = "spark.ui.showConsoleProgress"

_log = get_logger("mesolite.sparklite")


class Reporting(ContextBase):
    """Part of `SparkContext`. Whoever makes the context tells `_own_listeners` what happens, in their order."""

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

    def _own_listeners(self) -> list[SparkListener]:
        """Return who has to hear what happens, the recorder first."""
        listeners: list[SparkListener] = [self._recorder]
        if wanted(self._conf.get(PROGRESS_KEY), sys.stderr):
            listeners.append(ConsoleProgress(self._recorder))
        path = self._conf.get(REPORT_KEY)
        if path:
            listeners.append(SavedAtTheEnd(self._reports(), Path(path).absolute()))
        return listeners

    def _reports(self) -> Reports:
        application = Application(
            name=self._conf.get("spark.app.name") or "",
            app_id=self._conf.get("spark.app.id") or "",
            master=self._conf.get("spark.master") or "",
            began_ms=self._began_ms,
        )
        return Reports(self._recorder, application)


class SavedAtTheEnd:
    """A `SparkListener` that writes the page when the context was stopped."""

    def __init__(self, reports: Reports, path: Path) -> None:
        self._reports: Final = reports
        self._path: Final = path

    def heard(self, event: SparkEvent) -> None:
        """Nothing: all is recorded."""

    def close(self) -> None:
        """Write it. A disk that is full takes no result away from the program."""
        try:
            self._reports.save(self._path)
        except OSError as error:
            _log.warning("sparklite.report_not_saved", path=str(self._path), error=str(error))
