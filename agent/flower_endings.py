"""The newest ends of tasks on disk, so that the agent's next life can tell them to a Flower that did not hear them.

An end is sent with others, a tenth of a second later; an agent that is killed in between takes it along, and once the
framework has acknowledged it, nothing else remembers it. One line for each end, written before it is sent. Nothing is synced: a
killed process loses nothing of it, and what a dead machine loses is not worth waiting for the disk.
"""

from pathlib import Path
from typing import Final

import msgspec

from mesolite.logs import get_logger

from .flower_ledger import MAX_ENDED_TASKS, KnownTask

#: The file is written anew, with the newest ends alone, once it has so many lines.
MAX_LINES: Final = 4 * MAX_ENDED_TASKS
#: What is longer was not written here: 4,000 ends are some 2 MB.
MAX_FILE_BYTES: Final = 64 * 1024 * 1024

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(KnownTask)
_log = get_logger("mesolite.agent")


class Endings:
    """A file of ended tasks. Used from the agent's own thread; a disk that takes nothing costs a line in the log, no more."""

    def __init__(self, path: Path) -> None:
        """Prepare; the file need not exist.

        Args:
            path: The file, of one agent alone.
        """
        self._path: Final = path
        self._lines = 0
        self._is_broken = False

    def load(self) -> list[KnownTask]:
        """Return the newest ends, oldest first. What cannot be read, like a line cut short by a full disk, is left out."""
        try:
            if self._path.stat().st_size > MAX_FILE_BYTES:
                return []
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return []
        self._lines = len(lines)
        return [task for task in map(_decoded, lines[-MAX_ENDED_TASKS:]) if task is not None]

    def add(self, task: KnownTask) -> None:
        """Write one more end."""
        try:
            if self._lines >= MAX_LINES:
                self._shorten()
            with self._path.open("ab") as file:
                file.write(_encoder.encode(task) + b"\n")
            self._lines += 1
            self._is_broken = False
        except OSError as error:
            if not self._is_broken:
                _log.warning("agent.flower_endings_failed", reason=str(error))
            self._is_broken = True

    def _shorten(self) -> None:
        kept = self._path.read_bytes().splitlines(keepends=True)[-MAX_ENDED_TASKS:]
        shorter = self._path.with_suffix(".new")
        shorter.write_bytes(b"".join(kept))
        shorter.replace(self._path)
        self._lines = len(kept)


def _decoded(line: bytes) -> KnownTask | None:
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, ValueError):
        return None
