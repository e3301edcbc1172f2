"""What main process and worker say to each other, a message to a frame: a head of fixed size, and bytes that main never looks
into.

The sockets between them keep messages apart (SOCK_SEQPACKET), so that a call which waits in one is taken by exactly one reader:
by the worker, which then has begun it, or by main, which takes it back. What does not fit into one message follows in parts,
which are the bytes alone.

    main -> worker      CallHead | name | function | arguments | environment
    worker -> main      AnswerHead | payload | message
"""

import struct
from typing import Final, NamedTuple

from .calls import End

#: The longest message. Well below what a socket takes by default (212,992 bytes on Linux, its own records included), so that one
#: always fits into an empty socket.
MAX_MESSAGE_BYTES: Final = 65_536
#: Unpickled functions that a worker keeps. Main counts along.
MAX_FUNCTIONS: Final = 128

# Flags of a call.
#: Answer where main listens; without it, where main looks when it has to.
LOUD: Final = 1
#: The function comes along.
WITH_FUNCTION: Final = 2
#: Forget all functions first: main forgot which ones this worker knows.
FORGET_FUNCTIONS: Final = 4
#: The function's bytes, the arguments' bytes name a block (`codec.pack_payload`, dumped).
FUNCTION_IN_BLOCK: Final = 8
ARGUMENTS_IN_BLOCK: Final = 16

# Flags of an answer.
#: The worker ends itself after this answer; the message of the answer's log says why. What waits for it is for others.
RETIRING: Final = 1
#: The payload names a block.
PAYLOAD_IN_BLOCK: Final = 2

#: Number, flags, digest, by_reference_from, lengths of name, function, arguments, environment.
_CALL: Final = struct.Struct("<QB16sQBIII")
_NUMBER: Final = struct.Struct("<Q")
#: Number, flags, end, microseconds that it ran, bytes of its log, lengths of payload and message.
_ANSWER: Final = struct.Struct("<QBBQIII")


class CallFrame(NamedTuple):
    """A call as a worker gets it."""

    number: int
    flags: int
    digest: bytes
    by_reference_from: int
    name: str
    function: bytes
    arguments: bytes
    #: Plain pickle of a dictionary; empty for none.
    environment: bytes


class AnswerFrame(NamedTuple):
    """An answer as main gets it."""

    number: int
    flags: int
    end: End
    ran_us: int
    #: 0 where the call printed nothing; else what its log holds.
    log_bytes: int
    payload: bytes
    message: str


class BadFrame(ValueError):
    """Bytes that are no frame: something else wrote into the socket."""


def encode_call(frame: CallFrame) -> bytes:
    """Write a call."""
    number, flags, digest, by_reference_from, name, function, arguments, environment = frame
    text = name.encode()
    head = _CALL.pack(
        number, flags, digest, by_reference_from, len(text), len(function), len(arguments), len(environment)
    )
    return b"".join((head, text, function, arguments, environment))


def call_bytes(head: bytes) -> int:
    """How long the call is of which this is the first message."""
    *_, name, function, arguments, environment = _CALL.unpack_from(head)
    return int(_CALL.size + name + function + arguments + environment)


def call_number(head: bytes | memoryview) -> int:
    """The number of the call of which this is the first message."""
    number: int = _NUMBER.unpack_from(head)[0]
    return number


def decode_call(data: bytes) -> CallFrame:
    """Read a call, all parts joined. The worker trusts main: nothing is checked."""
    number, flags, digest, by_reference_from, name, function, arguments, environment = _CALL.unpack_from(data)
    at_function = _CALL.size + name
    at_arguments = at_function + function
    at_environment = at_arguments + arguments
    return CallFrame(
        number,
        flags,
        digest,
        by_reference_from,
        data[_CALL.size : at_function].decode(),
        data[at_function:at_arguments],
        data[at_arguments:at_environment],
        data[at_environment : at_environment + environment],
    )


def encode_answer(
    number: int, flags: int, end: int, ran_us: int, log_bytes: int, payload: bytes, message: str = ""
) -> bytes:
    """Write an answer."""
    if not message:
        return _ANSWER.pack(number, flags, end, ran_us, log_bytes, len(payload), 0) + payload
    text = message.encode(errors="replace")
    return b"".join((_ANSWER.pack(number, flags, end, ran_us, log_bytes, len(payload), len(text)), payload, text))


def answer_bytes(head: bytes) -> int:
    """How long the answer is of which this is the first message.

    Raises:
        BadFrame: It is none.
    """
    if len(head) < _ANSWER.size:
        raise BadFrame("a message shorter than an answer's head")
    *_, payload, message = _ANSWER.unpack_from(head)
    return _ANSWER.size + int(payload) + int(message)


def decode_answer(data: bytes) -> AnswerFrame:
    """Read an answer, all parts joined.

    Raises:
        BadFrame: It is none. A worker runs what others wrote: what comes from it is checked.
    """
    try:
        number, flags, end, ran_us, log_bytes, payload, message = _ANSWER.unpack_from(data)
        at_message = _ANSWER.size + payload
        if len(data) != at_message + message:
            raise BadFrame("an answer of another length than it says")
        text = data[at_message:].decode(errors="replace") if message else ""
        return AnswerFrame(number, flags, _END_OF[end], ran_us, log_bytes, data[_ANSWER.size : at_message], text)
    except (struct.error, KeyError) as error:
        raise BadFrame(f"no answer: {error}") from error


_END_OF: Final = {int(end): end for end in End}


def parts_of(frame: bytes) -> list[memoryview]:
    """The messages in which a frame travels."""
    whole = memoryview(frame)
    return [whole[at : at + MAX_MESSAGE_BYTES] for at in range(0, len(whole), MAX_MESSAGE_BYTES)]
