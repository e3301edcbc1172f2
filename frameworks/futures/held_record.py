"""An executor as a framework keeps it for its next life (`FrameworkStore`)."""

import msgspec
from msgspec import Struct

from mesolite.ids import AgentId, TaskId
from mesolite.protocol import ExecutorInfo

from .options import Kind


class HeldRecord(Struct, frozen=True):
    """Written before the executor is launched, so that whatever runs is known."""

    info: ExecutorInfo
    agent_id: AgentId
    hostname: str
    kind: Kind
    #: Its workers.
    tasks: tuple[TaskId, ...]
    launched_ms: int
    #: It is over, and calls that were looked for then may have been its.
    over: bool = False
    #: It was asked to end: the word of its end may have come to nobody.
    leaving: bool = False

    def encode(self) -> bytes:
        """As it is kept."""
        return msgspec.msgpack.encode(self)


def decode_record(kept: bytes) -> HeldRecord:
    """Read what `encode` made.

    Raises:
        ValueError: It is none, or one of another version.
    """
    return msgspec.msgpack.decode(kept, type=HeldRecord)
