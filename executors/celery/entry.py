"""What calls name: runs one message's task in whatever process it is called.

Where the zygote has loaded the application (preload.py) the process was forked with it; elsewhere the first task loads it.
"""

import os
import time
import traceback
from typing import TYPE_CHECKING, Any, Final

from .application import Application, NoApplication, load
from .protocol import RECYCLE_VARIABLE, ReportKind, TaskReport, TaskRun
from .recycling import rules_from

if TYPE_CHECKING:
    # Imports Celery, which an image may lack.
    from .worker_process import WorkerProcess


#: What an application needs to be imported may be back in a moment: so long after a failure its next task has it tried again.
RETRY_AFTER_S: Final = 5.0


class Entry:
    """The state of one process: an application, or why there is none."""

    def __init__(self) -> None:
        #: When loading was last tried; None: never.
        self._tried_s: float | None = None
        self._begun = False
        self._process: WorkerProcess | None = None
        #: Why no task can run here; empty where they can.
        self.why = ""

    def load(self) -> None:
        """Load the application, unless that was done, or failed a moment ago."""
        now_s = time.monotonic()
        if self._process is not None or (self._tried_s is not None and now_s - self._tried_s < RETRY_AFTER_S):
            return
        try:
            application: Application = load(os.environ)
            from .worker_process import WorkerProcess

            self._process = WorkerProcess(application, rules_from(os.environ.get(RECYCLE_VARIABLE, "")))
        except NoApplication as error:
            self.why = str(error)
        except ValueError as error:
            self.why = f"{RECYCLE_VARIABLE} cannot be read: {error}"
        finally:
            self._tried_s = time.monotonic()

    def begin(self) -> None:
        """Become a worker, once in each process."""
        self.load()
        if self._begun or self._process is None:
            return
        self._begun = True
        try:
            self._process.begin()
        # Receivers of signals are the user's.
        except BaseException:  # noqa: BLE001
            self.why = f"the application was loaded, but its worker cannot begin:\n{traceback.format_exc()}"
            self._process = None

    def run(self, run: TaskRun) -> TaskReport:
        """Run a task."""
        if not self._begun:
            self.begin()
        if self._process is None:
            return TaskReport(ReportKind.NO_APP, self.why, 0.0, 0)
        return self._process.run(run)

    def after_call(self) -> str:
        """See `Hooks`."""
        if self._process is None:
            return "it could not begin" if self._begun else ""
        return self._process.after_call()

    def end(self) -> None:
        """See `Hooks`."""
        if self._process is not None:
            self._process.end()


ENTRY: Final = Entry()


def run(*fields: Any) -> tuple[Any, ...]:
    """Run the task that the fields of a `TaskRun` tell; return the fields of its `TaskReport`, without classes."""
    kind, *rest = ENTRY.run(TaskRun(*fields))
    return (int(kind), *rest)
