"""SoftTimeLimitExceeded in a task that runs longer than it should: once, in its main thread, and never in the next task.

A thread sleeps until the moment, and signals its own process (SIGUSR1, by which Celery's prefork does it too; SIGALRM belongs to
the task). The handler raises only where code of the task is interrupted. Celery's own work around it, storing the result above
all, is let come to its end: the thread asks again until the task goes on, or is over.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import celery.app.trace
import celery.backends
from celery.exceptions import SoftTimeLimitExceeded

SIGNAL: Final = signal.SIGUSR1
#: How soon the thread asks again where the task was not to be interrupted.
_AGAIN_S: Final = 0.02
_NEVER: Final = float("inf")
_TRACE_FILE: Final = str(celery.app.trace.__file__)
_BACKENDS: Final = f"{os.path.dirname(str(celery.backends.__file__))}{os.sep}"  # noqa: PTH120 - as code objects write it
#: In Celery's trace module: runs a task, and calls one whose class has a `__call__` of its own.
_TRACER: Final = "trace_task"
_CALLING: Final = "__protected_call__"


class SoftLimit:
    """The limit of one process. `call` is for its main thread."""

    def __init__(self) -> None:
        self._changed: Final = threading.Condition()
        self._thread: threading.Thread | None = None
        self._number = 0
        #: The call that may be interrupted; 0: none. Read by the handler, at any moment.
        self._armed = 0
        #: The call whose time was up when the thread last looked.
        self._due = 0
        self._deadline_s = _NEVER
        #: When the thread looks next.
        self._looks_s = _NEVER
        #: Whether the last call was interrupted.
        self.exceeded = False

    def call(self, limit_s: float, function: Callable[..., Any], *args: object) -> Any:
        """Call a function under a limit, which ends with it."""
        signal.signal(SIGNAL, self._signalled)
        self.exceeded = False
        with self._changed:
            self._number += 1
            self._armed = self._number
            self._deadline_s = time.monotonic() + limit_s
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="mesolite-soft-limit", daemon=True)
                self._thread.start()
            elif self._deadline_s < self._looks_s:
                self._changed.notify()
        try:
            return function(*args)
        finally:
            self._armed = 0

    def _watch(self) -> None:
        with self._changed:
            while True:
                number, left_s = self._armed, self._deadline_s - time.monotonic()
                if not number:
                    left_s = _NEVER
                elif left_s <= 0:
                    self._due = number
                    signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)
                    left_s = _AGAIN_S
                self._looks_s = time.monotonic() + left_s
                self._changed.wait(None if left_s == _NEVER else left_s)

    def _signalled(self, _number: int, frame: FrameType | None) -> None:
        if self._armed and self._armed == self._due and interrupts_task(frame):
            self._armed = 0
            self.exceeded = True
            raise SoftTimeLimitExceeded


def interrupts_task(frame: FrameType | None) -> bool:
    """Whether code of a task is interrupted here, and not what Celery does before and after it."""
    inside = below = None
    while frame is not None:
        code = frame.f_code
        # The outermost: a task may run others within itself.
        if code.co_name == _TRACER and code.co_filename == _TRACE_FILE:
            inside = below
        below = code
        frame = frame.f_back
    if inside is None or inside.co_filename.startswith(_BACKENDS):
        return False
    return inside.co_filename != _TRACE_FILE or inside.co_name == _CALLING
