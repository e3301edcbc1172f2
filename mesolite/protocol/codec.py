"""Bytes to batches and back: MessagePack, versioned, bounded.

Unknown fields are ignored, so that a newer peer may add some; unknown kinds, wrong types and other versions are refused
with an error that says what was wrong. One bad message does not take its neighbours with it: batches from frameworks and
agents are decoded as a whole (fast) and, only where that fails, message by message.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec

from mesolite.errors import ProtocolError

from .batches import PROTOCOL_VERSION, CallBatch, CommandBatch, EventBatch, ReportBatch
from .calls import Call
from .reports import Report

#: Redis takes 512 MiB; a batch that large would stall everyone behind it. 16 MiB holds 40,000 ordinary tasks.
MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024
#: How much of a malformed message is kept for the operator.
MAX_MALFORMED_BYTES: Final = 4096
#: msgspec repeats an unknown kind in its error, however long it is.
MAX_REASON_LENGTH: Final = 300
#: Where some message of a batch is malformed, each costs a decoder call and perhaps a `Malformed`. 16 MiB of one-byte
#: messages would keep a master busy for half a minute, longer than its lease; so many take a tenth of a second. A longer
#: batch has to be well formed throughout.
MAX_SIFTED_MESSAGES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A message that was refused, for the dead-letter stream."""

    #: At most MAX_REASON_LENGTH characters.
    reason: str
    #: Its beginning, at most MAX_MALFORMED_BYTES.
    payload: bytes


_Raws = Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(max_length=MAX_SIFTED_MESSAGES)]


class _LooseCallBatch(CallBatch, frozen=True, kw_only=True):
    calls: _Raws  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]


class _LooseReportBatch(ReportBatch, frozen=True, kw_only=True):
    reports: _Raws  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]


_Batch = TypeVar("_Batch", bound="CallBatch | EventBatch | CommandBatch | ReportBatch")
_Item = TypeVar("_Item")

_encoder = msgspec.msgpack.Encoder()
_calls = msgspec.msgpack.Decoder(CallBatch)
_loose_calls = msgspec.msgpack.Decoder(_LooseCallBatch)
_call: msgspec.msgpack.Decoder[Call] = msgspec.msgpack.Decoder(Call)
_events = msgspec.msgpack.Decoder(EventBatch)
_commands = msgspec.msgpack.Decoder(CommandBatch)
_reports = msgspec.msgpack.Decoder(ReportBatch)
_loose_reports = msgspec.msgpack.Decoder(_LooseReportBatch)
_report: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def encode(batch: CallBatch | EventBatch | CommandBatch | ReportBatch) -> bytes:
    """Encode a batch.

    Raises:
        ProtocolError: It is larger than MAX_PAYLOAD_BYTES; split it.
    """
    payload = _encoder.encode(batch)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ProtocolError(
            f"a batch of {len(payload)} bytes is over the limit of {MAX_PAYLOAD_BYTES}; send fewer or smaller messages"
        )
    return payload


def decode_calls(payload: bytes) -> tuple[CallBatch, list[Malformed]]:
    """Decode what a framework sent.

    Returns:
        The batch with its well-formed calls, and the malformed ones.

    Raises:
        ProtocolError: The envelope itself cannot be read; its message says why.
    """
    try:
        return _checked(_calls, payload), []
    except ProtocolError:
        loose = _checked(_loose_calls, payload)
    good, malformed = _sift(_call, loose.calls)
    return (
        CallBatch(
            framework_id=loose.framework_id,
            session=loose.session,
            epoch=loose.epoch,
            number=loose.number,
            calls=tuple(good),
        ),
        malformed,
    )


def decode_reports(payload: bytes) -> tuple[ReportBatch, list[Malformed]]:
    """Decode what an agent sent; as `decode_calls`."""
    try:
        return _checked(_reports, payload), []
    except ProtocolError:
        loose = _checked(_loose_reports, payload)
    good, malformed = _sift(_report, loose.reports)
    return (
        ReportBatch(
            agent_id=loose.agent_id,
            session=loose.session,
            number=loose.number,
            epoch=loose.epoch,
            confirmed=loose.confirmed,
            gap=loose.gap,
            reports=tuple(good),
        ),
        malformed,
    )


def decode_events(payload: bytes) -> EventBatch:
    """Decode what the master sent to a framework.

    Raises:
        ProtocolError: It cannot be read.
    """
    return _checked(_events, payload)


def decode_commands(payload: bytes) -> CommandBatch:
    """Decode what the master sent to an agent.

    Raises:
        ProtocolError: It cannot be read.
    """
    return _checked(_commands, payload)


def malformed(reason: str, payload: bytes) -> Malformed:
    """Set a refused message aside, it and the reason cut to the kept sizes."""
    return Malformed(reason=reason[:MAX_REASON_LENGTH], payload=payload[:MAX_MALFORMED_BYTES])


def _checked(decoder: "msgspec.msgpack.Decoder[_Batch]", payload: bytes) -> _Batch:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"{len(payload)} bytes are over the limit of {MAX_PAYLOAD_BYTES}")
    try:
        batch = decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError(f"not a message of this protocol: {error}"[:MAX_REASON_LENGTH]) from error
    if batch.version != PROTOCOL_VERSION:
        raise ProtocolError(f"the peer speaks version {batch.version}, this side {PROTOCOL_VERSION}; run one version")
    return batch


def _sift(decoder: "msgspec.msgpack.Decoder[_Item]", raws: Any) -> tuple[list[_Item], list[Malformed]]:
    good: list[_Item] = []
    bad: list[Malformed] = []
    for raw in raws:
        try:
            good.append(decoder.decode(raw))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            bad.append(malformed(f"not a message of this protocol: {error}", bytes(raw)))
    return good, bad
