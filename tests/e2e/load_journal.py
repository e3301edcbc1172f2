"""What the load writes down, and how it is read again: by the load's next life, and by whoever judges.

One JSON object a line, appended before the thing is done (a launch) or when it has been heard (a status). A process that is
killed may leave half a line behind, which nobody acted on: it is cut off.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Struct

from mesolite import AgentId, ContainerId, OfferId, Reason, TaskId, TaskState, TaskStatus


class Began(Struct, frozen=True, kw_only=True, tag=True):
    """One life of the load began."""

    at_ms: int


class Launched(Struct, frozen=True, kw_only=True, tag=True):
    """A task is about to be launched."""

    at_ms: int
    task_id: TaskId
    #: Which piece of work it is: "long-3", "short-17". Lost tasks are tried again, as another task of the same work.
    work: str
    agent_id: AgentId


class Heard(Struct, frozen=True, kw_only=True, tag=True):
    """A status of a task."""

    at_ms: int
    task_id: TaskId
    state: TaskState
    #: When its maker made it.
    made_ms: int
    #: In hexadecimal; empty where the master said it.
    uuid: str = ""
    agent_id: AgentId | None = None
    container_id: ContainerId | None = None
    reason: Reason | None = None
    message: str = ""


class Offered(Struct, frozen=True, kw_only=True, tag=True):
    """Offers came."""

    at_ms: int
    offer_ids: tuple[OfferId, ...]


class Subscribed(Struct, frozen=True, kw_only=True, tag=True):
    """The subscription stands, under a master of this epoch."""

    at_ms: int
    epoch: int


class Ended(Struct, frozen=True, kw_only=True, tag=True):
    """The master does not want the load any more."""

    at_ms: int
    message: str


Line: TypeAlias = Began | Launched | Heard | Offered | Subscribed | Ended


def heard(status: TaskStatus, at_ms: int) -> Heard:
    """Write a status as a line of the journal."""
    container = status.container_status
    return Heard(
        at_ms=at_ms,
        task_id=status.task_id,
        state=status.state,
        made_ms=status.timestamp_ms,
        uuid=status.uuid.hex() if status.uuid is not None else "",
        agent_id=status.agent_id,
        container_id=container.container_id if container is not None else None,
        reason=status.reason,
        message=status.message,
    )


class JournalWriter:
    """Appends to a journal. What `write` returned from outlives the process; the machine's crash it need not."""

    def __init__(self, path: Path) -> None:
        whole = whole_lines(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._descriptor, len(whole))

    def write(self, lines: Sequence[Line]) -> None:
        """Append lines, in one write."""
        encoded = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        while encoded:
            encoded = encoded[os.write(self._descriptor, encoded) :]


def read_journal(path: Path) -> list[Line]:
    """Return all whole lines; none where there is no file yet."""
    decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
    return decoder.decode_lines(whole_lines(path))


def whole_lines(path: Path) -> bytes:
    """Return a file up to its last end of line."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def now_ms() -> int:
    """The time of a line: the machine's, so that lives and processes can be compared."""
    return time.time_ns() // 1_000_000
