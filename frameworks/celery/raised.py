"""What a worker says of an exception, as Celery's own objects.

An exception whose class is known here comes back as itself. Any other comes back as one that looks the same in events and logs;
what Celery asks of it (is it a retry, is the message to be requeued) it answers as the original would.
"""

import pickle
from typing import Any, Final

from billiard.einfo import ExceptionInfo
from celery.exceptions import Ignore, Reject, Retry

from mesolite.executors.celery.protocol import How, Raised, TaskReport

from .task_function import raised_of

#: What an exception has to be to mean what the worker says that it means.
_MEANINGS: Final[dict[How, tuple[type[BaseException], ...]]] = {
    How.FAILED: (Exception,),
    How.RETRIED: (Retry,),
    How.REJECTED: (Reject,),
    How.IGNORED: (Ignore,),
    How.EXITED: (SystemExit, KeyboardInterrupt),
    # As itself it would end the dispatcher: Celery's requests raise it again. So it only looks like one.
    How.OUT_OF_MEMORY: (),
}


def exception_of(raised: Raised) -> BaseException:
    """Return the exception, or one that looks like it."""
    try:
        found: object = pickle.loads(raised.pickled) if raised.pickled else None
    # Its class comes from the image: what importing it here, or making one, leads to is anybody's guess.
    except Exception:  # noqa: BLE001
        found = None
    return found if isinstance(found, _MEANINGS[raised.how]) else _likeness(raised)


def exception_info(report: TaskReport) -> tuple[Any, Raised]:
    """Return what Celery's requests are told of a failure: a billiard `ExceptionInfo`, without frames.

    Raises:
        BadBytes: The report holds none.
    """
    raised = raised_of(report)
    error = exception_of(raised)
    info: Any = ExceptionInfo.__new__(ExceptionInfo)
    info.type, info.exception, info.tb = type(error), error, None
    info.traceback, info.internal = report.text, raised.internal
    return info, raised


def _likeness(raised: Raised) -> BaseException:
    likeness: BaseException
    if raised.how is How.RETRIED:
        retry = Retry()
        # Not through its constructor, which makes something else of an exception that cannot be pickled.
        retry.exc, retry.excs = (_shown_as(raised, Exception), raised.shown) if raised.shown else (None, None)
        likeness = retry
    elif raised.how is How.REJECTED:
        likeness = Reject(raised.shown, requeue=raised.requeue)
    elif raised.how is How.IGNORED:
        likeness = Ignore()
    else:
        base = SystemExit if raised.how is How.EXITED else Exception
        likeness = _shown_as(raised, base)
    return likeness


def _shown_as(raised: Raised, base: type[BaseException]) -> BaseException:
    """Return an exception of the same name and the same `repr`."""

    def shown(_self: BaseException) -> str:
        return raised.shown

    body: dict[str, Any] = {"__module__": raised.module, "__repr__": shown, "__str__": shown}
    made: BaseException = type(raised.class_name, (base,), body)(raised.shown)
    return made
