"""A turn that can be stopped in its middle, as SIGSTOP stops a process, and go on later with all that it had in its hands.

The turn runs in a thread of its own, but never at the same time as anything else: whoever lets it go on waits until it is over
or stops again. So a run is as deterministic as without.
"""

import threading
from collections.abc import Callable
from typing import Final

from .fuse import ProcessDied

#: No turn takes so long.
_HUNG_S: Final = 60


class StoppableTurn:
    """One turn of a process."""

    def __init__(self, do: Callable[[], None]) -> None:
        self._do: Final = do
        self._thread: Final = threading.Thread(target=self._run, name="stoppable turn", daemon=True)
        self._go: Final = threading.Semaphore(0)
        self._back: Final = threading.Semaphore(0)
        self._raised: BaseException | None = None
        self._ended = False
        #: It came to its end.
        self.over = False

    def go_on(self) -> None:
        """Let it run until it is over or stops. Raises what it raises."""
        if self._thread.ident is None:
            self._thread.start()
        self._go.release()
        assert self._back.acquire(timeout=_HUNG_S), "a turn waits for something that nobody does meanwhile"
        if self.over:
            self._thread.join()
        if self._raised is not None:
            raise self._raised

    def stop(self) -> None:
        """Stop here until somebody lets it go on; called from within.

        Raises:
            ProcessDied: The process died while it stood.
        """
        self._back.release()
        self._go.acquire()
        if self._ended:
            raise ProcessDied

    def end(self) -> None:
        """Let it be over where it stands: its process is dead. It goes on where it was itself that died."""
        if threading.current_thread() is self._thread:
            return
        self._ended = True
        try:
            if not self.over:
                self.go_on()
        except ProcessDied:
            pass

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._ended:
                self._do()
        except BaseException as raised:  # noqa: BLE001 -- it is raised again in the thread that waits
            self._raised = raised
        self.over = True
        self._back.release()
