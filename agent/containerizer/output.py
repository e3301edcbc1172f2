"""A task's `stdout` and `stderr`: appended to, bounded, rotated, and always the newest kept.

A file that is full becomes NAME.1 (the earlier NAME.1 goes) and a new one begins, so at most twice the bound is on
disk. The sandbox belongs to the task, which may do anything to the names in it: files are opened once, never through a
link, and a task that plays with them harms its own output only.

How many bytes were ever written must survive the agent's death, so that a recovering agent goes on in the engine's log
at the right byte. It is the current file's size plus, once rotated, a base kept outside of the sandbox. Rotation writes
the next base together with the next file's inode number before it renames, and `_finish_rotation` completes one that
was cut short: between any two system calls the sum is right.
"""

import json
import os
import stat
from pathlib import Path
from typing import Final

from .policy import User

_FILE_MODE: Final = 0o644
_COPY_BYTES: Final = 1 << 20
_OPEN_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_output(path: Path, user: User) -> int:
    """Open an output file for appending; what is no plain file with one name is replaced.

    Returns:
        A descriptor, owned by the caller.

    Raises:
        OSError: The sandbox is gone or full.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS, _FILE_MODE)
    except OSError:
        _discard(path)
        descriptor = os.open(path, _OPEN_FLAGS | os.O_EXCL, _FILE_MODE)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(descriptor)
        _discard(path)
        descriptor = os.open(path, _OPEN_FLAGS | os.O_EXCL, _FILE_MODE)
        found = os.fstat(descriptor)
    if os.geteuid() == 0 and (found.st_uid, found.st_gid) != user:
        os.fchown(descriptor, user.uid, user.gid)
    return descriptor


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name}.moved-aside"))
    else:
        path.unlink(missing_ok=True)


class OutputFile:
    """One bounded output stream of one container. Not thread-safe: one thread at a time appends."""

    def __init__(self, sandbox: Path, name: str, *, user: User, max_bytes: int, records: Path) -> None:
        """Open it, going on where an earlier life of the agent stopped.

        Args:
            sandbox: Where the file is.
            name: "stdout" or "stderr".
            user: Who owns it.
            max_bytes: When to rotate; at least 1.
            records: A directory outside of the task's reach, for the base; made when first needed.

        Raises:
            OSError: The sandbox is gone or full.
        """
        assert max_bytes >= 1, "an output file holds at least a byte"
        self._path = sandbox / name
        self._next_path = sandbox / f".{name}.next"
        self._record = records / f"{name}.rotated"
        self._user = user
        self._max_bytes = max_bytes
        #: Bytes written before the current file began.
        self._base = self._finish_rotation()
        self._descriptor = open_output(self._path, user)
        #: Bytes in the current file.
        self._size = os.fstat(self._descriptor).st_size
        #: Bytes that could not be stored because the disk is full or broken.
        self.lost_bytes = 0

    @property
    def written_bytes(self) -> int:
        """All that was ever appended and not lost."""
        return self._base + self._size

    @property
    def modified_ns(self) -> int:
        """When it was last appended to (nanoseconds since 1970)."""
        return os.fstat(self._descriptor).st_mtime_ns

    def append(self, data: bytes) -> None:
        """Write all of it, rotating as often as it takes. A full disk loses it: tasks go on, `lost_bytes` grows."""
        view = memoryview(data)
        while view:
            room = self._max_bytes - self._size
            try:
                count = os.write(self._descriptor, view[:room]) if room > 0 else 0
                self._size += count
                view = view[count:]
                if self._size >= self._max_bytes:
                    self._rotate()
            except OSError:
                self.lost_bytes += len(view)
                return

    def tail(self, length: int) -> bytes:
        """The last bytes of the current file, at most `length` of them."""
        return os.pread(self._descriptor, length, max(0, self._size - length))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _rotate(self) -> None:
        self._next_path.unlink(missing_ok=True)
        descriptor = open_output(self._next_path, self._user)
        record = {"inode": os.fstat(descriptor).st_ino, "base": self._base + self._size}
        self._record.parent.mkdir(parents=True, exist_ok=True)
        draft = self._record.with_suffix(".draft")
        draft.write_text(json.dumps(record))
        draft.rename(self._record)
        self._path.rename(self._path.with_name(f"{self._path.name}.1"))
        self._next_path.rename(self._path)
        os.close(self._descriptor)
        self._descriptor, self._base, self._size = descriptor, record["base"], 0

    def _finish_rotation(self) -> int:
        try:
            record = json.loads(self._record.read_text())
            inode, base = int(record["inode"]), int(record["base"])
        except FileNotFoundError:
            return 0
        if _inode(self._next_path) == inode:
            if self._path.exists():
                self._path.rename(self._path.with_name(f"{self._path.name}.1"))
            self._next_path.rename(self._path)
        return base


def _inode(path: Path) -> int | None:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None


def bound_in_place(descriptor: int, path: Path, user: User, max_bytes: int) -> None:
    """Bound a file that the task itself appends to: copy what is there to NAME.1, then empty it.

    The writer holds the file open for appending, so it cannot be renamed away. What is written between the copy and the
    emptying is lost: at most some microseconds of output, once per `max_bytes`.

    Args:
        descriptor: The output file, opened by `open_output`.
        path: Its name.
        user: Who owns the rotated file.
        max_bytes: The bound; smaller files are left alone.
    """
    size = os.fstat(descriptor).st_size
    if size < max_bytes:
        return
    rotated = path.with_name(f"{path.name}.1")
    _discard(rotated)
    writer = open_output(rotated, user)
    try:
        offset = max(0, size - max_bytes)
        while chunk := os.pread(descriptor, _COPY_BYTES, offset):
            offset += os.write(writer, chunk)
        os.ftruncate(descriptor, 0)
    finally:
        os.close(writer)
