"""Tasks that end in every other way."""

import os
import signal
from typing import Any

from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.worker.request import Request

from .board import board, count, note, wait_at
from .making import task


class Refused(Exception):
    """An error of the application's own."""

    def __init__(self, why: str, code: int = 0) -> None:
        """Keep both."""
        super().__init__(why, code)
        self.code = code


class Unpicklable(Exception):
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        """Refuse."""
        raise TypeError("stays here")


ERRORS = {"value": ValueError("no good"), "key": KeyError("missing"), "own": Refused("not today", 7)}


@task(name="parity.fail")
def fail(kind: str = "value", *_: Any) -> None:
    """Raise an error."""
    raise ERRORS[kind]


@task(name="parity.fail_expectedly", throws=(KeyError,))
def fail_expectedly() -> None:
    """Raise what is expected of it."""
    raise KeyError("expected")


@task(name="parity.fail_unpicklably")
def fail_unpicklably() -> None:
    """Raise what does not travel."""
    raise Unpicklable("stays")


@task(name="parity.return_unserializable")
def return_unserializable() -> object:
    """Return what the result's serializer does not take."""
    return object()


@task(name="parity.exit")
def exit_inside() -> None:
    """Call sys.exit, which a worker turns into an error."""
    raise SystemExit(3)


@task(bind=True, name="parity.retrying", max_retries=3)
def retrying(self: Any, failures: int, *, key: str = "") -> int:
    """Retry by hand so often."""
    if key:
        note(key, f"try {self.request.retries}")
    if self.request.retries < failures:
        raise self.retry(exc=Refused("again", self.request.retries), countdown=0.05)
    return int(self.request.retries)


@task(
    bind=True, name="parity.autoretry", autoretry_for=(Refused,), retry_backoff=True, retry_jitter=False, max_retries=2
)
def autoretry(self: Any, failures: int) -> int:
    """Be retried with back-off so often."""
    if self.request.retries < failures:
        raise Refused("again", self.request.retries)
    return int(self.request.retries)


@task(bind=True, name="parity.ignore")
def ignore(self: Any, state: str | None) -> None:
    """End without a word, perhaps with a state of one's own."""
    if state:
        self.update_state(state=state, meta={"by": "hand"})
    raise Ignore


@task(name="parity.reject", acks_late=True)
def reject(key: str, *, requeue: bool) -> str:
    """Refuse the message, the first time only where it comes again."""
    if count(key) == 1:
        raise Reject("not now", requeue=requeue)
    return "the second time"


@task(name="parity.crash")
def crash(key: str = "") -> None:
    """Take the process along."""
    if key:
        count(key)
    os.kill(os.getpid(), signal.SIGKILL)


@task(name="parity.crash_once", acks_late=True, reject_on_worker_lost=True)
def crash_once(key: str) -> str:
    """Take the process along, the first time."""
    if count(key) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "the second time"


@task(name="parity.soft_limited", soft_time_limit=1)
def soft_limited(key: str, *, caught: bool) -> str:
    """Go over the soft limit."""
    try:
        wait_at(key)
    except SoftTimeLimitExceeded:
        if not caught:
            raise
        return "cleaned up"
    return "never told"


@task(name="parity.hard_limited", time_limit=1)
def hard_limited(key: str) -> None:
    """Go over the hard limit."""
    wait_at(key)


class Watched(Request):  # type: ignore[misc]
    """A request class of the application's own: its hooks run in the worker's main process."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Tell of it."""
        super().on_timeout(soft, timeout)
        if not soft:
            board().rpush("parity:notes:watched", f"timeout {timeout:g}")

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """Tell of it."""
        super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        board().rpush("parity:notes:watched", f"failure {type(error).__name__}")


@task(name="parity.watched", time_limit=1, Request=Watched)
def watched(key: str, *, ending: str) -> None:
    """End so that the request class is asked."""
    if ending == "failure":
        raise ValueError(key)
    wait_at(key)
