"""Messages that somebody refused, kept for the operator on one bounded stream."""

import msgspec
from msgspec import Struct

from mesolite.errors import ProtocolError


class DeadLetter(Struct, frozen=True, kw_only=True):
    """One refused message."""

    timestamp_ms: int
    #: Who sent it, and who refused it: "agent 'a1' of default".
    source: str
    #: What is wrong with it, and what to do.
    reason: str
    #: Its beginning, where its bytes are known.
    payload: bytes = b""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(DeadLetter)


def encode_dead_letter(letter: DeadLetter) -> bytes:
    """Encode a letter for the stream `dead_letters`."""
    return _encoder.encode(letter)


def decode_dead_letter(payload: bytes) -> DeadLetter:
    """Decode a letter.

    Raises:
        ProtocolError: It is none.
    """
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ProtocolError(f"not a dead letter: {error}") from error
