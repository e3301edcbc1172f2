"""How what an executor says of a call becomes a value, or an exception worth reading."""

import pickle
from collections.abc import Callable
from typing import Any, Final, assert_never

from mesolite.executors.python.calls import BlockRef, End, Outcome
from mesolite.executors.python.codec import BadBytes, unpack_raised

from .errors import (
    ArgumentsTooLarge,
    BlockLost,
    CallError,
    CallKilled,
    CallLost,
    CallTimedOut,
    NotPicklable,
    OutOfMemory,
    RemoteError,
    RemoteTraceback,
    ResultTooLarge,
    WorkerDied,
)

#: Ends that say nothing beside their message.
_PLAIN: Final[dict[End, type[CallError]]] = {
    End.DIED: WorkerDied,
    End.TIMED_OUT: CallTimedOut,
    End.CANCELLED: CallKilled,
    End.UNPICKLABLE: NotPicklable,
    End.TOO_LARGE: ResultTooLarge,
    End.BLOCK_LOST: BlockLost,
    End.REFUSED: CallLost,
}


def value_of(name: str, outcome: Outcome, fetch: Callable[[BlockRef], bytes]) -> Any:
    """The value that a call returned.

    Args:
        name: Of the function, for messages.
        outcome: How it ended.
        fetch: Brings bytes that lie in a block store.

    Raises:
        BaseException: What the call raised, or why it has no value.
    """
    if outcome.end is End.RETURNED:
        try:
            return pickle.loads(_bytes_of(outcome, fetch))
        except CallError:
            raise
        except Exception as error:
            raise NotPicklable(f"the result of {name} cannot be unpickled here: {error}") from error
    raise exception_of(name, outcome, fetch)


def exception_of(name: str, outcome: Outcome, fetch: Callable[[BlockRef], bytes]) -> BaseException:
    """Why a call has no value."""
    match outcome.end:
        case End.RAISED:
            return _raised(name, outcome, fetch)
        case End.OUT_OF_MEMORY:
            message = f"{name}: {outcome.message or 'it went over its memory limit'}; give it more with mem_mib"
            return OutOfMemory(message, outcome.limit_bytes, outcome.peak_bytes)
        case (
            End.DIED
            | End.TIMED_OUT
            | End.CANCELLED
            | End.UNPICKLABLE
            | End.TOO_LARGE
            | End.BLOCK_LOST
            | End.REFUSED
            | End.RETURNED
        ):
            kind = _PLAIN.get(outcome.end, CallError)
            if outcome.end is End.TOO_LARGE and not outcome.begun:
                kind = ArgumentsTooLarge
            return kind(f"{name}: {outcome.message}" if outcome.message else None)
        case _:
            assert_never(outcome.end)


def _raised(name: str, outcome: Outcome, fetch: Callable[[BlockRef], bytes]) -> BaseException:
    try:
        pickled, type_name, message, text = unpack_raised(_bytes_of(outcome, fetch))
    except (BadBytes, BlockLost) as error:
        return RemoteError(f"{name} raised an exception that got lost on its way: {error}")
    raised = _unpickled(pickled)
    if raised is None:
        raised = RemoteError(f"{name} raised {type_name}: {message}")
    raised.__cause__ = RemoteTraceback(text)
    return raised


def _unpickled(pickled: bytes | None) -> BaseException | None:
    if pickled is None:
        return None
    try:
        raised: object = pickle.loads(pickled)
    except Exception:  # noqa: BLE001 - an exception of somebody else's may do anything here; its texts are at hand
        return None
    return raised if isinstance(raised, BaseException) else None


def _bytes_of(outcome: Outcome, fetch: Callable[[BlockRef], bytes]) -> bytes:
    return outcome.payload if isinstance(outcome.payload, bytes) else fetch(outcome.payload)
