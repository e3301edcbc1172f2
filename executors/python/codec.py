"""Calls and their ends as bytes: pickles of tuples of numbers, bytes and texts, read by an unpickler that knows no class.

Pickle because it is the fastest that the standard library has; without classes because whoever reads these (the executor's main
process, the framework) must not run what others wrote. Bytes inside stay opaque. What is read is checked here, once: everything
behind may trust its types.
"""

import io
import pickle
from typing import Final, NoReturn

from .calls import PICKLE_PROTOCOL, BlockRef, End, Function, Outcome, Payload

#: Of SHA-256, as in `Function`.
DIGEST_BYTES: Final = 16
#: The longest id and address of a block; the agent's own are far shorter.
MAX_BLOCK_ID_LENGTH: Final = 128
MAX_URL_LENGTH: Final = 2048
#: The longest message of an outcome: for people, who read no more.
MAX_MESSAGE_LENGTH: Final = 16_384
#: The most text of a traceback that travels; the middle of a longer one says little.
MAX_TRACEBACK_LENGTH: Final = 65_536


class BadBytes(ValueError):
    """These bytes are no call and no end of one. Caller and executor must run the same version of Mesolite."""


def dumps(value: object) -> bytes:
    """Plain bytes of numbers, bytes, texts, None, and tuples, lists and dictionaries of them."""
    return pickle.dumps(value, PICKLE_PROTOCOL)


class _PlainUnpickler(pickle.Unpickler):
    """Knows no class, so that reading runs nothing."""

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise BadBytes(f"{module_name}.{global_name} does not belong here")


def loads(data: bytes | memoryview) -> object:
    """Read what `dumps` made.

    Raises:
        BadBytes: It is something else.
    """
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except BadBytes:
        raise
    # The unpickler raises what it likes at bytes that are none of its own (its documentation says so).
    except (pickle.UnpicklingError, ValueError, TypeError, EOFError, IndexError, KeyError, AttributeError) as error:
        raise BadBytes(f"not a plain pickle: {error}") from error
    except (ImportError, OverflowError, MemoryError, RecursionError) as error:
        raise BadBytes(f"not a plain pickle: {error}") from error


def pack_payload(payload: Payload) -> object:
    """A payload as plain values: bytes stay what they are."""
    if isinstance(payload, bytes):
        return payload
    return (payload.block_id, payload.size_bytes, payload.url)


def unpack_payload(value: object) -> Payload:
    """Read what `pack_payload` made.

    Raises:
        BadBytes: It is something else.
    """
    if isinstance(value, bytes):
        return value
    match value:
        case (str(block_id), int(size_bytes), str(url)):
            if not 0 < len(block_id) <= MAX_BLOCK_ID_LENGTH or size_bytes < 0 or len(url) > MAX_URL_LENGTH:
                raise BadBytes("a block's id, size or address is out of bounds")
            return BlockRef(block_id, size_bytes, url)
        case _:
            raise BadBytes("a payload is neither bytes nor a block")


def pack_function(function: Function) -> object:
    """A function as plain values."""
    return (function.digest, pack_payload(function.pickled))


def unpack_function(value: object) -> Function:
    """Read what `pack_function` made.

    Raises:
        BadBytes: It is something else.
    """
    match value:
        case (bytes(digest), pickled) if len(digest) == DIGEST_BYTES:
            return Function(digest, unpack_payload(pickled))
        case _:
            raise BadBytes("a function is no digest with bytes")


def pack_outcome(outcome: Outcome) -> tuple[object, ...]:
    """An outcome as plain values, as short as it may be: most calls return, and say nothing else."""
    head = (int(outcome.end), pack_payload(outcome.payload), outcome.ran_us)
    rest = (outcome.message, outcome.begun, outcome.limit_bytes, outcome.peak_bytes)
    return head if rest == ("", True, 0, 0) else head + rest


def unpack_outcome(value: object) -> Outcome:
    """Read what `pack_outcome` made.

    Raises:
        BadBytes: It is something else.
    """
    match value:
        case (int(end), payload, int(ran_us)):
            return Outcome(_end(end), unpack_payload(payload), ran_us=ran_us)
        case (int(end), payload, int(ran_us), str(message), bool(begun), int(limit), int(peak)):
            return Outcome(_end(end), unpack_payload(payload), message, begun, ran_us, limit, peak)
        case _:
            raise BadBytes("this is no outcome of a call")


def _end(number: int) -> End:
    try:
        return End(number)
    except ValueError as error:
        raise BadBytes(f"no call ends by {number}: the executor is newer than its framework?") from error


def pack_raised(pickled: bytes | None, type_name: str, message: str, traceback: str) -> bytes:
    """The payload of `End.RAISED`; None for an exception that cannot travel, which then lives on in its name and texts."""
    if len(traceback) > MAX_TRACEBACK_LENGTH:
        half = MAX_TRACEBACK_LENGTH // 2
        traceback = f"{traceback[:half]}\n... ({len(traceback) - 2 * half} characters left out)\n{traceback[-half:]}"
    return dumps((pickled, type_name, message[:MAX_MESSAGE_LENGTH], traceback))


def unpack_raised(payload: bytes) -> tuple[bytes | None, str, str, str]:
    """Read the payload of `End.RAISED`: the pickled exception or None, its type's name, its message, the traceback's text.

    Raises:
        BadBytes: It is something else.
    """
    match loads(payload):
        case (bytes() | None as pickled, str(type_name), str(message), str(traceback)):
            return pickled, type_name, message, traceback
        case _:
            raise BadBytes("this is no exception of a call")
