"""What a worker prints, kept apart for each call: `calls/NAME.log` in the sandbox, stdout and stderr in the order of writing.

The worker's descriptors 1 and 2 lead to one file, the spool, which becomes the log of a call that wrote into it: it gets the
log's name, and the next call finds a new spool. A call that prints nothing costs a look at the file's position, nothing else.
While a call runs long, main may give the spool its name early (`adopt`), so that the log can be watched; the generation in the
spool's name makes sure that it is the one of that call.
"""

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Final

from .log_names import log_name

#: What of one call's output is kept; the rest is cut off. Whoever writes more than that writes files.
MAX_LOG_BYTES: Final = 8 * 1024 * 1024
_CUT: Final = b"\n... cut here: a call's log may have %d bytes\n" % MAX_LOG_BYTES
_MODE: Final = 0o644


def spool_name(worker: int, generation: int) -> str:
    """The name of a worker's spool; the dot keeps it out of listings."""
    return f".worker-{worker}-{generation}"


def cut(fd_or_path: int | Path) -> None:
    """Cut a log off at its greatest length. Writers append, so whoever still writes goes on behind the note.

    Raises:
        OSError: It is not there.
    """
    os.truncate(fd_or_path, MAX_LOG_BYTES)
    if isinstance(fd_or_path, int):
        os.write(fd_or_path, _CUT)
        return
    with fd_or_path.open("ab") as log:
        log.write(_CUT)


class Output:
    """The worker's end."""

    def __init__(self, directory: Path, worker: int) -> None:
        self._directory: Final = directory
        self._worker: Final = worker
        #: Of the spool in use; main counts along by the answers that say that a log was kept.
        self._generation = 0
        self._stdout = self._stderr = sys.stdout
        self._open()

    def _open(self) -> None:
        path = self._directory / spool_name(self._worker, self._generation)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, _MODE)
        for target in (1, 2):
            if fd != target:
                os.dup2(fd, target)
        if fd > 2:
            os.close(fd)
        # By line, so that little is lost with a worker that dies; never an error over a character.
        self._stdout = _text_on(1)
        self._stderr = _text_on(2)
        sys.stdout, sys.stderr = self._stdout, self._stderr

    def flush(self) -> bool:
        """Bring everything printed into the file; False where the descriptors are not what they were."""
        try:
            if sys.stdout is not self._stdout or sys.stderr is not self._stderr:
                sys.stdout, sys.stderr = self._stdout, self._stderr
            self._stdout.flush()
            self._stderr.flush()
        except (OSError, ValueError):
            return False
        return True

    def keep(self, name: str, number: int) -> int:
        """Make the spool the log of the call that has just ended, where it printed.

        Returns:
            The log's bytes; 0 where it printed nothing.

        Raises:
            OSError: Output goes nowhere any more: the worker should end.
        """
        if not self.flush():
            raise OSError("the call closed stdout or stderr")
        # A file that only this worker and its children append to: where it stands is what it holds.
        size = os.lseek(1, 0, os.SEEK_CUR)
        if size == 0:
            return 0
        if size > MAX_LOG_BYTES:
            cut(1)
            size = MAX_LOG_BYTES + len(_CUT)
        # Main was faster where it is not there.
        with contextlib.suppress(FileNotFoundError):
            spool = self._directory / spool_name(self._worker, self._generation)
            spool.rename(self._directory / log_name(name, number))
        self._generation += 1
        self._open()
        return size


def _text_on(fd: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(io.FileIO(fd, "wb", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
