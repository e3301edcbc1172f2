"""How what a worker says of a task becomes the task's end."""

import pickle
import traceback
from collections.abc import Callable
from typing import Final, assert_never

from mesolite.executors.python.calls import BlockRef, End, Outcome
from mesolite.executors.python.codec import BadBytes, unpack_raised

from ..futures.errors import BlockLost
from . import stage_function
from .backend import Ending, Failed, Lost
from .errors import SparkError, TaskError

#: By its name, because it is raised in workers, under the name of their package; see `stage_runner.StageUnreadable`.
_FATAL: Final = "StageUnreadable"
_MEBIBYTE: Final = 1024 * 1024


def ending_of(outcome: Outcome, fetch: Callable[[BlockRef], bytes]) -> Ending:
    """How a task ended, from how its call did.

    Args:
        outcome: What the executor said.
        fetch: Brings bytes that lie in a block store; raises the futures' `BlockLost`.
    """
    match outcome.end:
        case End.RETURNED:
            return _returned(outcome, fetch)
        case End.RAISED:
            return _raised(outcome, fetch)
        case End.OUT_OF_MEMORY:
            return Failed(error=TaskError(_out_of_memory(outcome)))
        case End.DIED | End.TIMED_OUT:
            return Failed(error=TaskError(outcome.message or "its worker process ended under it"))
        case End.UNPICKLABLE:
            return Failed(error=TaskError(outcome.message), fatal=True)
        case End.TOO_LARGE:
            hint = "return less, write it to files, or raise spark.driver.maxResultSize"
            return Failed(error=TaskError(f"{outcome.message}: {hint}"), fatal=True)
        case End.BLOCK_LOST:
            return Lost(begun=True, reason=outcome.message or "a block of it cannot be had")
        case End.CANCELLED:
            return Lost(begun=outcome.begun, reason=outcome.message or "it was cancelled")
        case End.REFUSED:
            return Lost(begun=False, reason=outcome.message or "its executor refused it")
        case _:
            assert_never(outcome.end)


def failed_by(error: BaseException) -> Failed:
    """A task's end by an exception that is at hand: in this process, below the frame that caught it."""
    trace = error.__traceback__
    text = "".join(traceback.format_exception(type(error), error, trace.tb_next if trace else None))
    failed = TaskError(_told(_name_of(type(error)), str(error), text))
    failed.__cause__ = error
    return Failed(error=failed, fatal=type(error).__name__ == _FATAL)


def _returned(outcome: Outcome, fetch: Callable[[BlockRef], bytes]) -> Ending:
    try:
        data = outcome.payload if isinstance(outcome.payload, bytes) else fetch(outcome.payload)
    except BlockLost as lost:
        return Lost(begun=True, reason=f"its result is lost: {lost}")
    try:
        return stage_function.result(pickle.loads(data), len(data))
    except SparkError as error:
        return Failed(error=TaskError(str(error)), fatal=True)
    # What is unpickled is the user's, and runs the user's code.
    except Exception as error:  # noqa: BLE001
        failed = TaskError(f"its result cannot be unpickled here: {type(error).__name__}: {error}")
        failed.__cause__ = error
        return Failed(error=failed, fatal=True)


def _raised(outcome: Outcome, fetch: Callable[[BlockRef], bytes]) -> Failed:
    try:
        data = outcome.payload if isinstance(outcome.payload, bytes) else fetch(outcome.payload)
        pickled, type_name, message, text = unpack_raised(data)
    except (BadBytes, BlockLost) as error:
        return Failed(error=TaskError(f"it raised an exception that got lost on its way: {error}"))
    failed = TaskError(_told(type_name, message, text))
    failed.__cause__ = _unpickled(pickled)
    return Failed(error=failed, fatal=type_name.rpartition(".")[2] == _FATAL)


def _told(type_name: str, message: str, text: str) -> str:
    """What it was first, then where."""
    if type_name.rpartition(".")[2] == _FATAL:
        return message
    return f"{type_name}: {message}\n\n{text.rstrip()}" if message else f"{type_name}\n\n{text.rstrip()}"


def _name_of(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _unpickled(pickled: bytes | None) -> BaseException | None:
    """The exception itself, as its cause; None where it cannot be made here."""
    if pickled is None:
        return None
    try:
        found: object = pickle.loads(pickled)
    # An exception of somebody else's may do anything here; its texts are at hand.
    except Exception:  # noqa: BLE001
        return None
    return found if isinstance(found, BaseException) else None


def _out_of_memory(outcome: Outcome) -> str:
    text = outcome.message or "it went over its memory limit"
    sizes = [
        f"{name} {size / _MEBIBYTE:,.0f} MiB"
        for name, size in (("limit", outcome.limit_bytes), ("peak", outcome.peak_bytes))
        if size
    ]
    told = f" ({', '.join(sizes)})" if sizes else ""
    return f"out of memory: {text}{told}; use more partitions, or give workers more with spark.executor.memory"
