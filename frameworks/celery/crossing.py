"""The way from other threads into the thread of the dispatcher's event loop, where what they ask for is done in turn."""

import contextlib
import os
import select
from collections import deque
from collections.abc import Callable
from typing import Final

Action = Callable[[], None]


class Crossing:
    """A queue that wakes an event loop by a descriptor. `post` is for any thread, the rest for the loop's."""

    def __init__(self) -> None:
        self._actions: Final[deque[Action]] = deque()
        self._fd: Final = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        #: The descriptor is readable, or about to be: nobody need write to it again.
        self._rung = False

    def fileno(self) -> int:
        """Readable while something is to be done."""
        return self._fd

    def post(self, action: Action) -> None:
        """Have something done in the loop's thread."""
        self._actions.append(action)
        if not self._rung:
            self._rung = True
            os.eventfd_write(self._fd, 1)

    def run(self) -> None:
        """Do what is to be done now; what it leads to waits for the next turn."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        # In this order: what is appended after this line rings again.
        self._rung = False
        for _ in range(len(self._actions)):
            self._actions.popleft()()

    def wait(self, timeout_s: float) -> None:
        """Wait until there is something, or for so long, and do it: where no event loop runs."""
        select.select([self._fd], [], [], timeout_s)
        self.run()

    def close(self) -> None:
        """Let go; nothing may be posted any more."""
        os.close(self._fd)
