"""Gives memory that was freed back to the machine.

glibc keeps what lies below something that is still used, in each thread's arena: after a burst, and after a start with its
hundreds of imports, that is some MiB of a process that may then idle for hours. To hand it back costs a few milliseconds and,
where the memory is wanted again, a fault for each page; so it is done when there is nothing to do, once.
"""

import contextlib
import ctypes
from typing import Final

#: Without anything to do for so long a process counts as idle: bursts come closer to one another.
IDLE_S: Final = 5.0


def trim() -> None:
    """Hand back what can be. Where the C library cannot (musl), nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        # Every page that is free, but for none at the top: malloc_trim(3).
        ctypes.CDLL(None).malloc_trim(0)


class IdleTrim:
    """Says when to trim: once after the beginning, and after each time there was something to do."""

    def __init__(self) -> None:
        #: Since when there has been nothing to do; None where it is not known, or all was done about it.
        self._idle_since_s: float | None = None
        self._is_due = True

    def look(self, *, busy: bool, now_s: float) -> bool:
        """Return whether this is the moment.

        Args:
            busy: There is something to do.
            now_s: On a clock that runs evenly.
        """
        if busy:
            self._is_due, self._idle_since_s = True, None
            return False
        if not self._is_due:
            return False
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        if now_s - self._idle_since_s < IDLE_S:
            return False
        self._is_due, self._idle_since_s = False, None
        return True
