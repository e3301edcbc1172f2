"""Reads what tasks wrote, from the file servers of their agents: once, or following a task until it ends.

An agent bounds a task's output: a full `stdout` becomes `stdout.1`, where the earlier `stdout.1` goes, and a new one begins.
A file is therefore known by its inode, which the server tells, and not by its name: where the inode changes, the rest of
the old file is read under its new name first. Only what was rotated away twice between two reads is lost, and said to be
(unless the file system gave the number of the lost file to the new one at once, which nobody can see from here).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from mesolite.errors import NotFound, Unavailable
from mesolite.http_client import REQUEST_TIMEOUT_S, Query, request, with_query

#: What an agent calls the older part of an output file.
ROTATED_SUFFIX: Final = ".1"
#: Stands where output was rotated away before it could be read.
LOST_NOTICE: Final = b"\n[some output was dropped here: it was written faster than it was read]\n"
#: Pause before looking again for a file that does not exist yet; one that does is waited for by its server.
ABSENT_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Part:
    """Bytes of a file, and which file that was."""

    data: bytes
    inode: str


def read_sandbox(agent_url: str, path: str, *, offset: int, wait_ms: int = 0) -> bytes:
    """Return the bytes of a sandbox file from an offset on: what one read gives, empty at the end.

    Args:
        agent_url: The agent's file server.
        path: The file, as the agent names it.
        offset: Where to begin.
        wait_ms: How long to wait for bytes where there are none yet.

    Raises:
        NotFound: There is no such file, or not yet.
        Unavailable: The agent does not answer.
    """
    return _read(agent_url, path, offset, wait_ms).data


def read_output(agent_url: str, path: str) -> Iterator[bytes]:
    """Yield all that is kept of an output file, its older part first.

    Raises:
        NotFound: There is no such file.
        Unavailable: The agent does not answer.
    """
    found = False
    for part in follow_output(agent_url, path, lambda: True, wait_ms=0):
        found = True
        yield part
    if not found:
        _read(agent_url, path, 0, 0)


def follow_output(agent_url: str, path: str, ended: Callable[[], bool], *, wait_ms: int = 2000) -> Iterator[bytes]:
    """Yield an output file's bytes as they are written, until its task ended and all of it was read.

    Args:
        agent_url: The agent's file server.
        path: The file.
        ended: Says whether the task is over; asked only when there is nothing new.
        wait_ms: How long one read waits.

    Raises:
        Unavailable: The agent does not answer.
    """
    followed = _Followed(agent_url, path)
    over = False
    while True:
        parts = followed.next_parts(wait_ms=0 if over else wait_ms)
        yield from parts
        if not parts:
            if over:
                return
            # Asked before the last read, so that what was written until then is not lost.
            over = ended()
            if followed.is_absent and not over:
                time.sleep(ABSENT_PAUSE_S)


class _Followed:
    """How far an output file was read."""

    def __init__(self, agent_url: str, path: str) -> None:
        self._agent_url = agent_url
        self._path = path
        self._rotated = f"{path}{ROTATED_SUFFIX}"
        #: The file that is being read; None before the first.
        self._inode: str | None = None
        self._offset = 0

    @property
    def is_absent(self) -> bool:
        """Say whether the file was never seen."""
        return self._inode is None

    def next_parts(self, *, wait_ms: int) -> list[bytes]:
        """Return what comes next, in order; nothing where there is nothing yet."""
        part = self._part(self._path, self._offset, wait_ms)
        if part is None:
            return []
        parts: list[bytes] = []
        if part.inode != self._inode:
            parts += self._older_first(part.inode) if self._inode is None else self._rest_of_older(self._inode)
            self._inode, self._offset = part.inode, 0
            # What came was read at the old file's offset.
            part = self._part(self._path, 0, 0)
            if part is None or part.inode != self._inode:
                return parts
        if part.data:
            self._offset += len(part.data)
            parts.append(part.data)
        return parts

    def _older_first(self, newest: str) -> list[bytes]:
        """Return the part that was rotated before reading began, unless it is the newest that we were about to read."""
        older = self._part(self._rotated, 0, 0)
        if older is None or older.inode == newest:
            return []
        return self._rest_of_older(older.inode)

    def _rest_of_older(self, inode: str) -> list[bytes]:
        """Return what was not read yet of the file that was rotated, or a notice that it is lost."""
        parts: list[bytes] = []
        offset = self._offset
        while (part := self._part(self._rotated, offset, 0)) is not None and part.inode == inode:
            if not part.data:
                return parts
            offset += len(part.data)
            parts.append(part.data)
        return [*parts, LOST_NOTICE]

    def _part(self, path: str, offset: int, wait_ms: int) -> _Part | None:
        try:
            return _read(self._agent_url, path, offset, wait_ms)
        except NotFound:
            return None


def _read(agent_url: str, path: str, offset: int, wait_ms: int) -> _Part:
    query: Query = {"path": path, "offset": offset, "wait_ms": wait_ms, "raw": 1}
    url = with_query(f"{agent_url.rstrip('/')}/files/read", query)
    answer = request("GET", url, None, timeout_s=wait_ms / 1000 + REQUEST_TIMEOUT_S, away=Unavailable)
    return _Part(answer.body, answer.headers.get("Mesolite-Inode", ""))
