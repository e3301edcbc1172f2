"""Sandboxes on disk: where they are, who owns them, what may be read from them, and when they go.

    WORK_DIR/sandboxes/FRAMEWORK/TASK/CONTAINER/    stdout, stderr, whatever the task writes
    WORK_DIR/containers/CONTAINER/                  the agent's notes on a live container, out of the task's reach

A sandbox belongs to its task, which may fill it with links to anywhere. Nothing here follows one out of it.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesolite.errors import BadInput
from mesolite.ids import ContainerId, FrameworkId, TaskId

from .containerizer.policy import User

#: Most of a file that one read returns: 16 pages (mesos `src/files/files.cpp`; reference 3.4).
MAX_READ_BYTES: Final = 64 * 1024
#: How long a sandbox outlives its task on an empty disk (mesos `gc_delay`, 1 week).
GC_DELAY_MS: Final = 7 * 24 * 3600 * 1000
#: The part of the disk that collection tries to keep free (mesos `gc_disk_headroom`).
GC_DISK_HEADROOM: Final = 0.1
#: Most entries that one listing returns, so that a task with a million files does not fill the agent's memory.
MAX_ENTRIES: Final = 10_000


class SandboxError(BadInput):
    """There is no such file in the sandbox; browse its folder for the names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of a listing, as `ls -l` shows it (reference 3.4, `/files/browse`)."""

    #: Relative to the sandbox, with slashes.
    path: str
    nlink: int
    size: int
    mtime_s: float
    #: "drwxr-xr-x"
    mode: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Part of a file, and where it begins. Data is empty, and offset the file's size, where a reader asks for the end."""

    data: bytes
    offset: int
    #: Which file it is, whatever its name: a full output file is renamed while it is read.
    inode: int


def sandbox_path(work_dir: Path, framework_id: FrameworkId, task_id: TaskId, container_id: ContainerId) -> Path:
    """Where a container's sandbox is. Ids are valid file names by their own rule (ids.py)."""
    return work_dir / "sandboxes" / framework_id / task_id / container_id


def create_sandbox(path: Path, user: User) -> None:
    """Make a sandbox; its user may write there, everybody may read. One that exists is left as it is, but for its owner.

    Raises:
        OSError: The disk is full, or the agent may not.
    """
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


def remove_sandbox(path: Path) -> None:
    """Remove a sandbox, and its task's and framework's folders where they are empty then. Gone already is fine."""
    shutil.rmtree(path, ignore_errors=True)
    for folder in list(path.parents)[:2]:
        try:
            folder.rmdir()
        except OSError:
            return


def all_sandboxes(work_dir: Path) -> Iterator[Path]:
    """Every sandbox below a work directory."""
    yield from sorted(path for path in (work_dir / "sandboxes").glob("*/*/*") if path.is_dir())


def gc_age_ms(disk_used: float, *, gc_delay_ms: int = GC_DELAY_MS, headroom: float = GC_DISK_HEADROOM) -> int:
    """How old an ended sandbox may grow (mesos `Slave::_checkDiskUsage`; reference 1.15).

    Args:
        disk_used: Part of the disk in use, 0 to 1.
        gc_delay_ms: The age on an empty disk.
        headroom: The part of the disk to keep free.

    Returns:
        `gc_delay_ms` times the part of the disk that is free beyond the headroom; 0 where none is.
    """
    return int(gc_delay_ms * max(0.0, 1.0 - headroom - disk_used))


def due_for_removal(
    ended_ms: dict[Path, int],
    *,
    now_ms: int,
    disk_used: float,
    gc_delay_ms: int = GC_DELAY_MS,
    headroom: float = GC_DISK_HEADROOM,
) -> list[Path]:
    """Which sandboxes of ended containers go now, oldest first.

    Args:
        ended_ms: When each ended.
        now_ms: The time.
        disk_used: Part of the disk in use, 0 to 1.
        gc_delay_ms: See `gc_age_ms`.
        headroom: See `gc_age_ms`.
    """
    age_ms = gc_age_ms(disk_used, gc_delay_ms=gc_delay_ms, headroom=headroom)
    due = [(when, path) for path, when in ended_ms.items() if now_ms - when >= age_ms]
    return [path for _, path in sorted(due)]


def disk_used(path: Path) -> float:
    """Part of the disk around a path that is in use, 0 to 1, as unprivileged writers see it."""
    found = os.statvfs(path)
    usable = found.f_blocks - found.f_bfree + found.f_bavail
    return 1.0 - found.f_bavail / usable if usable else 1.0


def resolve(sandbox: Path, relative: str) -> Path:
    """The real path of something in a sandbox.

    Args:
        sandbox: Its root.
        relative: "" or "/" or "." for the root itself; a leading slash is ignored.

    Raises:
        SandboxError: There is nothing, or it lies outside, be it by "..", or by a link.
    """
    if "\0" in relative:
        raise SandboxError("a path cannot contain a NUL byte")
    root = sandbox.resolve()
    try:
        path = (root / relative.lstrip("/")).resolve(strict=True)
    except (OSError, RuntimeError):
        raise SandboxError(f"there is no {relative!r} in the sandbox") from None
    if not path.is_relative_to(root):
        raise SandboxError(f"{relative!r} leads out of the sandbox")
    return path


def read_file(sandbox: Path, relative: str, *, offset: int = -1, length: int = -1) -> Part:
    """Part of a file (reference 3.4, `/files/read`).

    Args:
        sandbox: Its root.
        relative: The file.
        offset: Where to begin; -1 asks for the file's size only.
        length: At most so many bytes; -1 means as many as one read returns, `MAX_READ_BYTES`.

    Returns:
        The data, and the offset where it begins. At or past the end: no data, the offset as asked.

    Raises:
        SandboxError: No such file, a folder, something that is neither, or a negative number other than -1.
    """
    if offset < -1 or length < -1:
        raise SandboxError("offset and length are -1 or not negative")
    path = resolve(sandbox, relative)
    try:
        # Opened without following, so that a link put here since `resolve` looked leads nowhere.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SandboxError(f"{relative!r} cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        _check_regular(relative, found.st_mode)
        _check_inside(sandbox, descriptor, relative)
        if offset == -1:
            return Part(data=b"", offset=found.st_size, inode=found.st_ino)
        wanted = MAX_READ_BYTES if length == -1 else min(length, MAX_READ_BYTES)
        return Part(data=os.pread(descriptor, wanted, offset), offset=offset, inode=found.st_ino)
    finally:
        os.close(descriptor)


def _check_regular(relative: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise SandboxError(f"{relative!r} is a directory; browse it")
    if not stat.S_ISREG(mode):
        raise SandboxError(f"{relative!r} is not a regular file")


def _check_inside(sandbox: Path, descriptor: int, relative: str) -> None:
    """What was opened may not be what was resolved: the task can move folders in between. The kernel knows the truth."""
    if not Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(sandbox.resolve()):
        raise SandboxError(f"{relative!r} leads out of the sandbox")


def browse(sandbox: Path, relative: str = "") -> list[Entry]:
    """What is in a folder, sorted by path, at most `MAX_ENTRIES`; links are shown as links.

    Raises:
        SandboxError: There is no such folder.
    """
    path = resolve(sandbox, relative)
    if not path.is_dir():
        raise SandboxError(f"{relative!r} is not a directory")
    root = sandbox.resolve()
    try:
        found_paths = sorted(path.iterdir())[:MAX_ENTRIES]
    except OSError as error:
        raise SandboxError(f"{relative!r} cannot be read: {error.strerror}") from None
    entries: list[Entry] = []
    for child in found_paths:
        try:
            found = child.lstat()
        except OSError:
            continue  # gone since it was listed
        entries.append(
            Entry(
                path=child.relative_to(root).as_posix(),
                nlink=found.st_nlink,
                size=found.st_size,
                mtime_s=found.st_mtime,
                mode=stat.filemode(found.st_mode),
                uid=found.st_uid,
                gid=found.st_gid,
            )
        )
    return entries
