"""What a task raised, on its way to the dispatcher: `Raised` with everything in it bounded.

The exception itself goes along where it can be pickled and is small; billiard's `ExceptionInfo` would take the code of every
frame with it, in a form that differs between versions.
"""

import pickle
from collections.abc import Callable
from typing import Any, Final

from celery.exceptions import Ignore, Reject, Retry
from celery.utils.serialization import get_pickleable_exception
from kombu.utils import encoding

from ..python.calls import PICKLE_PROTOCOL
from ..python.codec import MAX_TRACEBACK_LENGTH, dumps
from .protocol import How, Raised

_safe_repr: Final[Callable[[object], Any]] = encoding.safe_repr
#: The largest exception that travels: the dispatcher wants of it what it is, and what events show of it.
MAX_PICKLED_BYTES: Final = 64 * 1024
#: As much of a `repr` as people read.
MAX_SHOWN_LENGTH: Final = 4096


def pack(error: BaseException, *, traced: bool, internal: bool) -> bytes:
    """Return `TaskReport.detail` for an exception.

    Args:
        error: What was raised.
        traced: See `Raised`.
        internal: See `Raised`.
    """
    shown_error: Any = error.exc if isinstance(error, Retry) else error
    raised = Raised(
        how=_meaning(error),
        traced=traced,
        internal=internal,
        module=str(type(error).__module__),
        class_name=type(error).__name__,
        shown="" if shown_error is None else shortened(str(_safe_repr(shown_error)), MAX_SHOWN_LENGTH),
        requeue=bool(error.requeue) if isinstance(error, Reject) else False,
        pickled=_pickled(error),
    )
    return dumps((int(raised.how), *raised[1:]))


def shortened(text: str, length: int = MAX_TRACEBACK_LENGTH) -> str:
    """Cut the middle out of a text that is longer."""
    if len(text) <= length:
        return text
    half = length // 2
    return f"{text[:half]}\n... ({len(text) - 2 * half} characters left out)\n{text[-half:]}"


def _meaning(error: BaseException) -> How:
    match error:
        case Retry():
            return How.RETRIED
        case Reject():
            return How.REJECTED
        case Ignore():
            return How.IGNORED
        case SystemExit() | KeyboardInterrupt():
            return How.EXITED
        case MemoryError():
            return How.OUT_OF_MEMORY
        case _:
            return How.FAILED


def _pickled(error: BaseException) -> bytes:
    """The exception, or what Celery puts in place of one that cannot be pickled; nothing where that is too large as well."""
    try:
        pickled = pickle.dumps(get_pickleable_exception(error), PICKLE_PROTOCOL)
    # `__reduce__` of an exception of the user's, and of whatever it holds.
    except Exception:  # noqa: BLE001
        return b""
    return pickled if len(pickled) <= MAX_PICKLED_BYTES else b""
