"""Blocks on disk: written beside, put in place whole, read by whoever has opened them even after they were removed.

    WORK_DIR/blocks/FRAMEWORK/BLOCK     the bytes
    WORK_DIR/blocks/.coming/N           what is still being written; gone with the next start

A block belongs to a framework. It goes with DELETE, with the framework, or where the store is full (index.py). What was stored
outlives the agent's process, as executors do.
"""

import contextlib
import errno
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO, Final

from mesolite.errors import BadInput, NotFound, Unavailable
from mesolite.ids import FrameworkId
from mesolite.logs import get_logger

from ..settings import RESUME_FREE_DISK_MIB
from .index import OVERHEAD_BYTES, BlockIndex

#: A block's name: chosen by whoever stores it, a file's here and part of an address.
_BLOCK_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_COMING: Final = ".coming"
#: Read and written at once.
PIECE_BYTES: Final = 1024 * 1024
_MIB: Final = 1024 * 1024
#: This much of a disk stays free: twice of what the agent needs to launch tasks, so that blocks never keep it from that.
KEEP_FREE_BYTES: Final = 2 * RESUME_FREE_DISK_MIB * _MIB
#: How long the blocks of a framework stay that has no executor here any more, and that nobody asks for: whoever still waits for
#: a result has asked for it long before.
ORPHAN_S: Final = 3600.0
#: Of what is free at the start, where no bound is set: sandboxes need room too.
_SHARE_OF_FREE: Final = 4

_log = get_logger("mesolite.agent")


class StoreFull(Unavailable):
    """The block does not fit; set blocks_max_mib of the agent higher, make room on its disk, or return less."""


class BlockStore:
    """The store of one agent; all methods from any thread."""

    def __init__(
        self,
        root: Path,
        max_bytes: int | None = None,
        *,
        free_bytes: Callable[[], int] | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take over what an earlier life of the agent has left.

        Args:
            root: The directory, made where there is none.
            max_bytes: The bound for all blocks together; None: a quarter of what is free on the disk or taken by blocks.
            free_bytes: How much is free on the disk; asked of it where absent.
            clock_s: A clock that only goes forward.

        Raises:
            OSError: The directory cannot be used.
        """
        self._root: Final = root
        self._free_bytes: Final = free_bytes or (lambda: shutil.disk_usage(root).free)
        self._clock_s: Final = clock_s
        #: When each framework's blocks were asked for last, or had an executor (monotonic seconds).
        self._used_s: dict[FrameworkId, float] = {}
        #: Frameworks that are over and have something here, be it an executor that is ending.
        self._over: set[FrameworkId] = set()
        self._lock: Final = threading.Lock()
        self._coming = 0
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        shutil.rmtree(root / _COMING, ignore_errors=True)
        (root / _COMING).mkdir()
        found = _found(root)
        if max_bytes is None:
            there = sum(size + OVERHEAD_BYTES for _, _, size, _ in found)
            max_bytes = max(0, self._free_bytes() + there) // _SHARE_OF_FREE
        self._index: Final = BlockIndex(max_bytes)
        for framework_id, block_id, size_bytes, _ in sorted(found, key=lambda each: each[3]):
            self._adopt(framework_id, block_id, size_bytes)

    @property
    def max_bytes(self) -> int:
        """The bound for all blocks together."""
        return self._index.max_bytes

    @property
    def used_bytes(self) -> int:
        """How much there is."""
        with self._lock:
            return self._index.used_bytes

    def used_by(self, framework_id: FrameworkId) -> int:
        """How much a framework holds."""
        with self._lock:
            return self._index.used_by(framework_id)

    def frameworks(self) -> list[FrameworkId]:
        """Whose blocks there are."""
        with self._lock:
            return self._index.frameworks()

    def put(self, framework_id: FrameworkId, block_id: str, size_bytes: int, read: Callable[[int], bytes]) -> None:
        """Store a block; one of the same name is replaced.

        Args:
            framework_id: Whose it is.
            block_id: Its name.
            size_bytes: How many bytes there are.
            read: Gives at most so many of them; none where they end.

        Raises:
            BadInput: It is no name, or fewer bytes came.
            StoreFull: It does not fit.
            OSError: Reading failed.
        """
        path = self._path(framework_id, block_id)
        with self._lock:
            draft = self._reserve(framework_id, size_bytes)
        try:
            _write(draft, size_bytes, read)
            with self._lock:
                path.parent.mkdir(exist_ok=True)
                draft.rename(path)
                self._index.add(framework_id, block_id, size_bytes)
        except BaseException as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            with self._lock:
                self._index.release(framework_id, size_bytes)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(f"the agent's disk is full: {size_bytes} bytes could not be stored") from None
            raise

    def open(self, framework_id: FrameworkId, block_id: str) -> tuple[BinaryIO, int]:
        """Return a block as a file, to be closed, and its size.

        Raises:
            BadInput: It is no name.
            NotFound: There is no such block of this framework, or not any more.
        """
        path = self._path(framework_id, block_id)
        with self._lock:
            size_bytes = self._index.use(framework_id, block_id)
            self._used_s[framework_id] = self._clock_s()
            if size_bytes is None:
                raise NotFound(f"there is no block {block_id!r} here: it was removed, or made room for others")
            try:
                return path.open("rb"), size_bytes
            except FileNotFoundError:
                # Somebody tidied up; the books follow.
                self._index.remove(framework_id, block_id)
                raise NotFound(f"block {block_id!r} is gone from the agent's disk") from None

    def delete(self, framework_id: FrameworkId, block_id: str) -> None:
        """Remove a block.

        Raises:
            BadInput: It is no name.
            NotFound: There is none.
        """
        path = self._path(framework_id, block_id)
        with self._lock:
            if not self._index.remove(framework_id, block_id):
                raise NotFound(f"there is no block {block_id!r} here")
            path.unlink(missing_ok=True)

    def end_framework(self, framework_id: FrameworkId) -> None:
        """Remove all blocks of a framework."""
        with self._lock:
            self._index.remove_all(framework_id)
            self._coming += 1
            going = self._root / _COMING / str(self._coming)
            with contextlib.suppress(FileNotFoundError):
                (self._root / framework_id).rename(going)
        shutil.rmtree(going, ignore_errors=True)

    def framework_over(self, framework_id: FrameworkId) -> None:
        """Nobody will ask for a framework's blocks any more: they go with the next `collect` that finds no executor of it."""
        with self._lock:
            self._over.add(framework_id)

    def collect(self, living: Collection[FrameworkId]) -> None:
        """Remove the blocks of frameworks that have no executor here, and are over or were asked for nothing during ORPHAN_S.

        A framework's results may be asked for after the executor that made them; not for ever.
        """
        now_s = self._clock_s()
        with self._lock:
            for framework_id in living:
                self._used_s[framework_id] = now_s
            held = self._index.frameworks()
            self._used_s = {each: self._used_s.get(each, now_s) for each in held}
            self._over = {each for each in self._over if each in held or each in living}
            orphans = [
                each
                for each in held
                if each not in living and (each in self._over or now_s - self._used_s[each] >= ORPHAN_S)
            ]
        for framework_id in orphans:
            _log.info("agent.blocks_collected", framework_id=framework_id)
            self.end_framework(framework_id)

    def _path(self, framework_id: FrameworkId, block_id: str) -> Path:
        if not _BLOCK_ID.fullmatch(block_id):
            raise BadInput(f"{block_id[:64]!r} is no name of a block: 1 to 128 letters, digits, _ and -")
        return self._root / framework_id / block_id

    def _reserve(self, framework_id: FrameworkId, size_bytes: int) -> Path:
        """Set room aside; under the lock."""
        if self._free_bytes() - size_bytes < KEEP_FREE_BYTES:
            raise StoreFull(
                f"the agent's disk has no room for {size_bytes} bytes: {KEEP_FREE_BYTES // _MIB} MiB stay free for its own"
            )
        evicted = self._index.reserve(framework_id, size_bytes)
        if evicted is None:
            raise StoreFull(
                f"a block of {size_bytes} bytes does not fit beside what is coming: the agent keeps "
                f"{self.max_bytes // _MIB} MiB (blocks_max_mib)"
            )
        for whose, block_id in evicted:
            (self._root / whose / block_id).unlink(missing_ok=True)
        if evicted:
            _log.warning("agent.blocks_evicted", count=len(evicted), max_mib=self.max_bytes // _MIB)
        self._coming += 1
        return self._root / _COMING / str(self._coming)

    def _adopt(self, framework_id: FrameworkId, block_id: str, size_bytes: int) -> None:
        """Take over one block of an earlier life; the oldest went first, where the bound is lower now."""
        evicted = self._index.reserve(framework_id, size_bytes)
        if evicted is None:
            evicted = [(framework_id, block_id)]
        else:
            self._index.add(framework_id, block_id, size_bytes)
        for whose, each in evicted:
            (self._root / whose / each).unlink(missing_ok=True)


def _found(root: Path) -> list[tuple[FrameworkId, str, int, int]]:
    """Framework, name, size and time of last use or change of each block that is there."""
    found: list[tuple[FrameworkId, str, int, int]] = []
    for path in root.glob("*/*"):
        if path.parent.name == _COMING or not path.is_file():
            continue
        status = path.stat()
        found.append(
            (FrameworkId(path.parent.name), path.name, status.st_size, max(status.st_mtime_ns, status.st_atime_ns))
        )
    return found


def _write(path: Path, size_bytes: int, read: Callable[[int], bytes]) -> None:
    missing = size_bytes
    with path.open("xb", buffering=0) as file:
        while missing:
            piece = read(min(missing, PIECE_BYTES))
            if not piece:
                raise BadInput(f"{missing} of {size_bytes} bytes did not come")
            missing -= len(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(file.fileno(), rest) :]
