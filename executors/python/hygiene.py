"""Puts back what a call changed of its process, so that the next one finds it as the first did.

Most calls change nothing, so looking has to be cheap: a few microseconds after each. What cannot be put back is told as a
reason to end the worker: a thread that is left, output that goes nowhere.
"""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Final, cast

_UMASK: Final = 0o022
#: `threading.active_count` takes a lock, which is a twentieth of a short call.
_count: Final = cast("Callable[[], int]", vars(_thread)["_count"])


class Hygiene:
    """What the worker's process was like before the first call."""

    def __init__(self) -> None:
        #: Where every call starts: the sandbox.
        self.home: Final = str(os.getcwd())  # noqa: PTH109 - compared as a text after each call
        #: The dictionary behind `os.environ`: comparing it costs a hundredth of copying the face.
        self._environment: Final = cast("dict[bytes, bytes]", vars(os.environ)["_data"])
        self._environment_before: Final = dict(self._environment)
        self._recursion_limit: Final = sys.getrecursionlimit()
        #: Threads that were there before, or are left and may be: those that end with the process by themselves.
        self._threads = _count()
        os.umask(_UMASK)

    def set_environment(self, values: Mapping[str, str]) -> None:
        """Set variables for the next call; `clean` takes them away."""
        os.environ.update(values)

    def clean(self) -> str:
        """Put back what can be.

        Returns:
            Why the worker should end now; "" where it need not.
        """
        if os.umask(_UMASK) != _UMASK:
            pass  # asking is setting
        # An alarm that is left would end the next call.
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self._environment != self._environment_before:
            self._restore_environment()
        if sys.getrecursionlimit() != self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        return self._go_home() or self._threads_left()

    def _restore_environment(self) -> None:
        for name in self._environment.keys() - self._environment_before.keys():
            os.environb.pop(name, None)
        os.environb.update(self._environment_before)

    def _go_home(self) -> str:
        with contextlib.suppress(OSError):
            if os.getcwd() == self.home:  # noqa: PTH109 - a Path costs more than asking
                return ""
        try:
            os.chdir(self.home)
        except OSError as error:
            return f"the directory {self.home} cannot be entered any more: {error}"
        return ""

    def _threads_left(self) -> str:
        count = _count()
        if count <= self._threads:
            return ""
        here = threading.current_thread()
        left = [each for each in threading.enumerate() if each is not here and not each.daemon and each.is_alive()]
        if left:
            return f"the call left a thread that runs on: {left[0].name}"
        self._threads = count
        return ""
