"""What outlives a master: the little that nobody else could restore (DESIGN 2).

Fields of the registry hash are `framework:<id>` and `agent:<id>`. Everything else is rebuilt from agents that register again
and frameworks that subscribe again.
"""

from typing import TypeVar

import msgspec
from msgspec import Struct

from mesolite.errors import ProtocolError
from mesolite.ids import AgentId, FrameworkId, SessionId
from mesolite.protocol import FrameworkInfo

FRAMEWORK = "framework:"
AGENT = "agent:"


class FrameworkEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A framework that runs, or whose id is used up."""

    info: FrameworkInfo
    session: SessionId
    principal: str
    #: Why it ended; None while it has not.
    ended: str | None = None
    #: Orders the ended ones by age.
    ended_ms: int = 0
    #: Since when its scheduler is silent, for the failover timeout that runs on through a change of master; None while it is not.
    silent_since_ms: int | None = None
    #: Sessions that newer ones took over from: one of these that comes back late is told so by the next master too.
    superseded: tuple[SessionId, ...] = ()


class AgentEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An agent that was admitted; at most one of the three times is set, and none while it is registered."""

    hostname: str
    session: SessionId
    principal: str
    #: As in `RegisterAgent`: which life of which agent this is.
    checkpoint_id: str = ""
    incarnation: int = 0
    #: Since when it is unreachable.
    unreachable_since_ms: int | None = None
    #: When an operator declared it gone: its id is refused from then on.
    gone_since_ms: int | None = None
    #: When it stopped for good, having killed what it ran.
    left_since_ms: int | None = None


_Entry = TypeVar("_Entry", FrameworkEntry, AgentEntry)

_encoder = msgspec.msgpack.Encoder()
_framework = msgspec.msgpack.Decoder(FrameworkEntry)
_agent = msgspec.msgpack.Decoder(AgentEntry)


def encode(entry: FrameworkEntry | AgentEntry) -> bytes:
    """Encode an entry for the registry."""
    return _encoder.encode(entry)


def frameworks(registry: dict[str, bytes]) -> dict[FrameworkId, FrameworkEntry]:
    """Decode the frameworks of a registry, in order of their names.

    Raises:
        ProtocolError: An entry was written by an incompatible version.
    """
    return {FrameworkId(name): _decode(_framework, name, data) for name, data in _fields(registry, FRAMEWORK)}


def agents(registry: dict[str, bytes]) -> dict[AgentId, AgentEntry]:
    """Decode the agents of a registry, in order of their names; raises as `frameworks`."""
    return {AgentId(name): _decode(_agent, name, data) for name, data in _fields(registry, AGENT)}


def _fields(registry: dict[str, bytes], prefix: str) -> list[tuple[str, bytes]]:
    return sorted((key.removeprefix(prefix), data) for key, data in registry.items() if key.startswith(prefix))


def _decode(decoder: "msgspec.msgpack.Decoder[_Entry]", name: str, data: bytes) -> _Entry:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ProtocolError(f"the registry's entry for {name!r} cannot be read: {error}") from error
