"""Where a task puts aside what does not fit its memory: a file without a name, which is gone with its descriptor or its process.

In the sandbox, whose disk is the task's own; the local backend's tasks, which have none, use the system's place for temporary
files.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from .blocks import BlockPart, FilePart
from .counters import Counters

_PIECE_BYTES: Final = 512 * 1024


def spill_directory() -> Path:
    """The directory of such files."""
    sandbox = os.environ.get("MESOS_SANDBOX", "")
    if not sandbox:
        return Path(tempfile.gettempdir())
    directory = Path.cwd() / "spill"
    directory.mkdir(exist_ok=True)
    return directory


class SpillFile:
    """Opened with the first bytes. To be closed."""

    def __init__(self, counters: Counters) -> None:
        self._counters: Final = counters
        self._file: BinaryIO | None = None
        self._size_bytes = 0

    def write(self, pieces: Iterable[bytes]) -> FilePart:
        """Put bytes aside; returns where they are.

        Raises:
            OSError: The disk is full.
        """
        file = self._file
        if file is None:
            file = self._file = tempfile.TemporaryFile(dir=spill_directory())  # noqa: SIM115 - `close` does
        begin = self._size_bytes
        file.seek(begin)
        file.writelines(pieces)
        file.flush()
        self._size_bytes = file.tell()
        self._counters.spilled_bytes += self._size_bytes - begin
        return FilePart(file, begin, self._size_bytes - begin)

    def close(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()
            self._file = None


def bytes_of(parts: Iterable[BlockPart]) -> Iterator[bytes]:
    """What parts are, in pieces."""
    for part in parts:
        if isinstance(part, bytes):
            yield part
            continue
        at, end = part.offset, part.offset + part.length
        while at < end:
            piece = os.pread(part.file.fileno(), min(_PIECE_BYTES, end - at), at)
            assert piece, "a file that only this task has was cut short"
            at += len(piece)
            yield piece
