"""Reads what tasks wrote, from the file servers of their agents: once, or following a task until it ends.

An agent bounds a task's output: a full `stdout` becomes `stdout.1`, where the earlier `stdout.1` goes, and a new one begins.
Neither names nor inode numbers (they are given out again at once) tell whether the file is still the one that was read, so
each read begins a little before its place and compares. Where that fails, the place is looked for in the older part, and
reading goes on from there. What was rotated away before it could be read is lost, and said to be. The log of a call is cut off
at its greatest length instead: there is no older part, and it begins as it did; reading goes on behind what is left.

An agent's process may die and come back, perhaps at another address, while its tasks run on. Who follows a task can say how to
find it again; the agent is then waited for, and reading goes on at its place.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from mesolite.errors import NotFound, ProtocolError, Unavailable
from mesolite.http_client import REQUEST_TIMEOUT_S, Query, request, with_query

#: What an agent calls the older part of an output file.
ROTATED_SUFFIX: Final = ".1"
#: Stands where output was rotated away before it could be read.
LOST_NOTICE: Final = b"\n[some output was dropped here: it was written faster than it was read]\n"
#: Bytes by which two reads overlap: a few lines, so that one file is not taken for another.
OVERLAP_BYTES: Final = 256
#: Pause before looking again for a file that does not exist yet; one that does is waited for by its server.
ABSENT_PAUSE_S: Final = 0.1
#: How long an agent that is followed may be away each time: it is restarted, or its container made anew.
AWAY_PATIENCE_S: Final = 30.0
AWAY_PAUSE_S: Final = 0.5

AnswerT = TypeVar("AnswerT")
#: Says where an agent serves files now, as far as is known.
Whereabouts: TypeAlias = Callable[[], str]


class SandboxEntry(Struct, frozen=True):
    """What lies in a folder of a sandbox."""

    #: As the agent names it, the sandbox before it.
    path: str
    size: int = 0
    #: Seconds since 1970.
    mtime: float = 0.0

    @property
    def name(self) -> str:
        """Its name in the folder."""
        return self.path.rpartition("/")[2]


class _Executor(Struct, frozen=True):
    framework_id: str
    executor_id: str


class _AgentState(Struct, frozen=True):
    """What matters here of an agent's word about itself."""

    executors: list[_Executor] = []


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a file was read, and what stands just before: its last bytes, at most OVERLAP_BYTES."""

    offset: int = 0
    before: bytes = b""

    def after(self, data: bytes) -> "_Place":
        """Return the place behind some more bytes."""
        return _Place(self.offset + len(data), (self.before + data)[-OVERLAP_BYTES:])


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
    return _read(agent_url, path, offset, wait_ms=wait_ms)


def list_sandbox(agent_url: str, path: str) -> list[SandboxEntry]:
    """Return what lies in a folder of a sandbox.

    Raises:
        NotFound: There is no such folder, or not yet.
        Unavailable: The agent does not answer.
    """
    return _ask(agent_url, "/files/browse", {"path": path}, list[SandboxEntry])


def runs_executor(agent_url: str, framework_id: str, executor_id: str) -> bool:
    """Say whether an executor has not ended on its agent, whether it has tasks or not.

    Raises:
        Unavailable: The agent does not answer.
    """
    state = _ask(agent_url, "/state", {}, _AgentState)
    return any((each.framework_id, each.executor_id) == (framework_id, executor_id) for each in state.executors)


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
        _read(agent_url, path, 0)


def follow_output(
    agent_url: str,
    path: str,
    ended: Callable[[], bool],
    *,
    wait_ms: int = 2000,
    whereabouts: Whereabouts | None = None,
) -> Iterator[bytes]:
    """Yield an output file's bytes as they are written, until its task ended and all of it was read.

    Args:
        agent_url: The agent's file server.
        path: The file.
        ended: Says whether the task is over; asked only when there is nothing new.
        wait_ms: How long one read waits.
        whereabouts: Asked while the agent is away; without it nobody waits for an agent.

    Raises:
        Unavailable: The agent does not answer, and not for AWAY_PATIENCE_S where it is waited for.
    """
    followed = _Followed(agent_url, path, whereabouts)
    over = False
    while True:
        advanced = False
        for part in followed.parts(wait_ms=0 if over else wait_ms):
            advanced = True
            if part:
                yield part
        if advanced:
            continue
        if over:
            return
        # Asked before the last read, so that what was written until then is not lost.
        over = ended()
        if followed.is_absent and not over:
            time.sleep(ABSENT_PAUSE_S)


class _Followed:
    """One output file, its older part included, and how far it was read."""

    def __init__(self, agent_url: str, path: str, whereabouts: Whereabouts | None = None) -> None:
        self._agent_url = agent_url
        self._whereabouts = whereabouts
        self._path = path
        self._older_path = f"{path}{ROTATED_SUFFIX}"
        self._place = _Place()
        #: The end of the older part that was read last; None before any.
        self._older_end: _Place | None = None
        #: How the file begins that is being read.
        self._head = b""
        self.is_absent = True

    def parts(self, *, wait_ms: int) -> Iterator[bytes]:
        """`_next_parts`, begun anew at its place when an agent that was away is back.

        Raises:
            Unavailable: The agent is away, for too long or with nobody to say where it is.
        """
        deadline_s = time.monotonic() + AWAY_PATIENCE_S + wait_ms / 1000
        while True:
            before = self._place, self._older_end
            has_yielded = False
            try:
                for part in self._next_parts(wait_ms=wait_ms):
                    has_yielded = True
                    yield part
            except Unavailable:
                if self._whereabouts is None or time.monotonic() > deadline_s:
                    raise
                if not has_yielded:
                    # Cut off between the two parts of a rotated file, it may have gone on to the new one already.
                    self._place, self._older_end = before
                time.sleep(AWAY_PAUSE_S)
                self._agent_url = self._whereabouts() or self._agent_url
            else:
                return

    def _next_parts(self, *, wait_ms: int) -> Iterator[bytes]:
        """Yield what comes next, in order. Yields nothing only where there is nothing; an empty part means: ask again."""
        data = self._at(self._path, self._place, wait_ms=wait_ms)
        self.is_absent = data is None and self._place.offset == 0
        if data is None:
            if self._place.offset and self._exists(self._path):
                yield from self._rest_of_older()
        elif data:
            if self._place.offset == 0 and self._older_is_new():
                # What came before it stands in a file that was not read; then this one is read again.
                yield from self._older_from(_Place())
                return
            if self._place.offset == 0:
                self._head = data[:OVERLAP_BYTES]
            self._place = self._place.after(data)
            yield data

    def _older_is_new(self) -> bool:
        if self._older_end is None:
            return self._exists(self._older_path)
        return self._at(self._older_path, self._older_end) is None

    def _rest_of_older(self) -> Iterator[bytes]:
        """Yield what was not read yet of the file that was rotated, and begin with the new one."""
        if self._was_cut():
            self._place = self._end()
            yield LOST_NOTICE
            return
        place, self._place = self._place, _Place()
        found = self._find(place)
        if found is None:
            yield LOST_NOTICE
            found = _Place()
        yield from self._older_from(found)
        yield b""

    def _was_cut(self) -> bool:
        if self._exists(self._older_path):
            return False
        beginning = self._at(self._path, _Place())
        return beginning is not None and beginning.startswith(self._head)

    def _end(self) -> _Place:
        """Return the place behind all that the file holds now."""
        place = _Place()
        while data := self._at(self._path, place):
            place = place.after(data)
        return place

    def _find(self, place: _Place) -> _Place | None:
        """Return the place in the older part: where it was if the file was renamed, elsewhere if it was copied."""
        if self._at(self._older_path, place) is not None:
            return place
        offset, kept, found = 0, b"", None
        while data := self._at(self._older_path, _Place(offset)):
            # The last one counts: of output that repeats itself little was written since, much before.
            index = (kept + data).rfind(place.before)
            if index >= 0:
                found = _Place(offset - len(kept) + index + len(place.before), place.before)
            offset += len(data)
            kept = (kept + data)[-OVERLAP_BYTES:]
        return found

    def _older_from(self, place: _Place) -> Iterator[bytes]:
        while data := self._at(self._older_path, place):
            place = place.after(data)
            yield data
        self._older_end = place

    def _exists(self, path: str) -> bool:
        return self._at(path, _Place()) is not None

    def _at(self, path: str, place: _Place, *, wait_ms: int = 0) -> bytes | None:
        """Return the bytes behind a place, or None where there is no such file or another one by now."""
        before = place.before
        try:
            data = _read(self._agent_url, path, place.offset - len(before), wait_ms=wait_ms, known_size=place.offset)
        except NotFound:
            return None
        return data[len(before) :] if data.startswith(before) else None


def _read(agent_url: str, path: str, offset: int, *, wait_ms: int = 0, known_size: int | None = None) -> bytes:
    query: Query = {"path": path, "offset": offset, "raw": 1, "wait_ms": wait_ms, "known_size": known_size or offset}
    url = with_query(f"{agent_url.rstrip('/')}/files/read", query)
    return request("GET", url, None, timeout_s=wait_ms / 1000 + REQUEST_TIMEOUT_S, away=Unavailable).body


def _ask(agent_url: str, path: str, query: Query, kind: type[AnswerT]) -> AnswerT:
    url = with_query(f"{agent_url.rstrip('/')}{path}", query)
    body = request("GET", url, None, timeout_s=REQUEST_TIMEOUT_S, away=Unavailable).body
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"{agent_url} is no agent of this version: {error}") from None
