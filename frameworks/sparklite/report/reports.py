"""What `sc.report()` and `sc.saveReport()` do."""

import sys
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from ..history import History
from ..recorder import Recorder
from .page import Tasks, page_of
from .summary import Application, Report, summarize
from .terminal import show

#: Characters in a line where the output is no terminal, which would say itself: the tables are wide.
WIDTH_OF_PIPES: Final = 160


class Reports:
    """The forms of the report; all of them say how things are now.

    Args:
        recorder: What happened.
        application: Whose reports they are.
    """

    def __init__(self, recorder: Recorder, application: Application) -> None:
        self._recorder: Final = recorder
        self._application: Final = application

    def now(self) -> Report:
        """Return all figures."""
        return self._recorder.read(self._summary)

    def show(self, console: Console | None = None) -> None:
        """Print tables.

        Args:
            console: Where; None: standard output, without colours where that is no terminal.
        """
        if console is None:
            console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_PIPES, highlight=False)
        show(self.now(), console)

    def json(self) -> str:
        """Return all figures as JSON (`summary.Report`)."""
        return msgspec.json.encode(self.now()).decode()

    def save(self, path: str | Path) -> None:
        """Write the page: one HTML file that needs nothing else.

        Raises:
            OSError: It cannot be written.
        """

        def material(history: History) -> tuple[Report, Tasks]:
            return self._summary(history), {key: list(stage.tasks) for key, stage in history.stages.items()}

        text = page_of(*self._recorder.read(material))
        target = Path(path)
        # In place at once: nobody opens half a page, and the one before stays where the disk is full.
        part = target.with_name(f".{target.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(target)

    def _summary(self, history: History) -> Report:
        return summarize(history, self._application)
