"""What a request of Celery's is told: its callbacks, and the ends that they know."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from billiard.einfo import ExceptionInfo
from celery.app import trace
from celery.worker import state as worker_state

from mesolite.executors.celery.protocol import How, TaskReport, TaskRun

from .raised import exception_info
from .task_function import raised_of
from .verdicts import Failed, NotBegun, Raised, RaisedUnstored, Succeeded, TimedOut, Verdict


def _nothing(*_: Any, **__: Any) -> None:
    """Where Celery wants to hear nothing."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Of one request (`celery.worker.request.Request`)."""

    #: With the number that Celery may end it by, and the monotonic time.
    accept: Callable[..., Any]
    #: With (failed, result or `ExceptionInfo`, seconds).
    success: Callable[..., Any]
    #: With an `ExceptionInfo`.
    failure: Callable[..., Any]
    #: With (whether the limit was the soft one, the limit in seconds).
    timeout: Callable[..., Any]
    #: Asks whether it was revoked, or is too late; where so Celery has said it, stored it and acknowledged when this returns.
    revoked: Callable[[], bool] = bool
    #: Itself; None where it is none of Celery's.
    request: Any = None

    @staticmethod
    def of(given: Mapping[str, Any]) -> "Callbacks":
        """Take them out of what a pool is called with."""
        request = getattr(given.get("accept_callback"), "__self__", None)
        return Callbacks(
            given.get("accept_callback") or _nothing,
            given.get("callback") or _nothing,
            given.get("error_callback") or _nothing,
            given.get("timeout_callback") or _nothing,
            # Not among what pools are given: others are given a request once a process is free, and it is asked just before.
            getattr(request, "revoked", bool),
            request,
        )


def acknowledge_again(callbacks: Callbacks) -> None:
    """Have a request of a message whose task is over do no more than that its message leaves the broker."""
    if callbacks.request is not None:
        worker_state.task_ready(callbacks.request)
        callbacks.request.acknowledge()


def log_success(run: TaskRun, succeeded: Succeeded) -> None:
    """Log that a task succeeded as prefork's children do: said here, it costs no run a log of its own."""
    if trace.logger.isEnabledFor(logging.INFO):
        request = run.request
        name = request.get("shadow") or run.name
        data = {
            "id": run.task_id,
            "name": name,
            "return_value": succeeded.text,
            "runtime": succeeded.runtime_s,
            "args": request.get("argsrepr"),
            "kwargs": request.get("kwargsrepr"),
        }
        trace.info(trace.LOG_SUCCESS, data)


def tell(callbacks: Callbacks, decided: Verdict) -> None:
    """Tell a request how its task ended, as prefork's parent would."""
    match decided:
        case Succeeded():
            callbacks.success((0, decided.text, decided.runtime_s))
        case Raised():
            info, _ = exception_info(decided.report)
            callbacks.success((1, info, decided.report.runtime_s))
        case RaisedUnstored():
            info, _ = exception_info(decided.report)
            callbacks.failure(info)
        case Failed():
            callbacks.failure(info_of(decided.error))
        case TimedOut():
            callbacks.timeout(False, decided.limit_s)
        case NotBegun():
            raise AssertionError("what has not begun is no end")
        case _:
            assert_never(decided)


def asks_back(report: TaskReport) -> bool:
    """Whether a task asks that its message goes back to its queue."""
    raised = raised_of(report)
    return raised.how is How.REJECTED and raised.requeue


def info_of(error: BaseException) -> Any:
    """Return an `ExceptionInfo` of an exception."""
    try:
        raise error
    except type(error):
        info: Any = ExceptionInfo()
    # Not in the wrapping for other processes: events show its name alone.
    info.exception = error
    return info
