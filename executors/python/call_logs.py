"""The logs of calls in the sandbox, as main looks after them: so many are kept, and what a dying worker printed is saved."""

import contextlib
from collections import deque
from pathlib import Path
from typing import Final

from .log_names import DIRECTORY, MAX_LOGS, MAX_LOGS_BYTES, SUFFIX, log_name
from .output import MAX_LOG_BYTES, cut, spool_name


class CallLogs:
    """The directory `calls` of one sandbox.

    Args:
        sandbox: The executor's.
        shown_as: FRAMEWORK/EXECUTOR, by which people ask for logs (`mesolite logs`); empty where nobody can.
    """

    def __init__(self, sandbox: Path, shown_as: str = "") -> None:
        self._shown_as: Final = shown_as
        self._directory: Final = sandbox / DIRECTORY
        self._kept: Final[deque[tuple[str, int]]] = deque()
        self._bytes = 0

    def kept(self, name: str, number: int, size_bytes: int) -> None:
        """A worker has kept a log: count it, and remove the oldest where there are too many."""
        self._kept.append((log_name(name, number), size_bytes))
        self._bytes += size_bytes
        while len(self._kept) > MAX_LOGS or (self._bytes > MAX_LOGS_BYTES and len(self._kept) > 1):
            oldest, oldest_bytes = self._kept.popleft()
            self._bytes -= oldest_bytes
            if all(oldest != other for other, _ in self._kept):
                (self._directory / oldest).unlink(missing_ok=True)

    def adopt(self, worker: int, generation: int, name: str, number: int) -> None:
        """Give the spool of a call that runs long the name of its log, so that it can be watched; cut it where it is too long."""
        spool, log = self._directory / spool_name(worker, generation), self._directory / log_name(name, number)
        with contextlib.suppress(OSError):
            if spool.stat().st_size:
                spool.rename(log)
        with contextlib.suppress(OSError):
            if log.stat().st_size > 2 * MAX_LOG_BYTES:
                cut(log)

    def save(self, worker: int, generation: int, name: str, number: int) -> str:
        """A worker died under this call: what it printed is its log.

        Returns:
            How people see it; empty where it printed nothing.
        """
        self.adopt(worker, generation, name, number)
        self.discard(worker, generation)
        file = log_name(name, number)
        try:
            self.kept(name, number, (self._directory / file).stat().st_size)
        except OSError:
            return ""
        return (
            f"what it printed: `mesolite logs {self._shown_as}/{file.removesuffix(SUFFIX)}`" if self._shown_as else ""
        )

    def discard(self, worker: int, generation: int) -> None:
        """Remove the spool of a worker that is over."""
        with contextlib.suppress(OSError):
            (self._directory / spool_name(worker, generation)).unlink(missing_ok=True)
