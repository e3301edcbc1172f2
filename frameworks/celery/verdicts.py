"""What the end of a run means to Celery, and so what the pool tells the request. Pure: endings and rules in, a verdict out.

Celery's own code goes on from there: it stores, acknowledges or requeues, sends events and signals, and calls errbacks. So an
ending becomes what prefork's parent would have seen, and only three things are ours. A limit of memory has an exception of its
own, which is a lost worker to Celery. What nobody began is no ending. And where Celery would put a message back for ever
(`acks_late` with `reject_on_worker_lost`, or without `acks_on_timeout`), `max_losses` is where it ends.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias, assert_never

from billiard.exceptions import Terminated, WorkerLostError

from mesolite.errors import ConfigError
from mesolite.executors.celery.protocol import How, ReportKind, TaskReport
from mesolite.executors.python.calls import End, Outcome
from mesolite.executors.python.codec import BadBytes, unpack_raised

from ..futures.engine_call import Lost
from ..futures.errors import (
    ArgumentsTooLarge,
    CallError,
    CallKilled,
    CallTimedOut,
    CannotRun,
    NotPicklable,
    OutOfMemory,
    TooLargeForCluster,
)
from .calls import Ending, TaskOptions
from .errors import CannotRunHere, MemoryLimitExceeded, Poisoned, TaskTooLarge
from .task_function import raised_of, report_of

#: A task under which so many workers were lost is the reason for it: twice may be chance, as when an agent is restarted.
DEFAULT_MAX_LOSSES: Final = 3
#: The setting that says otherwise, and the most that it may say: each loss is a container.
MAX_LOSSES_SETTING: Final = "mesolite_max_losses"
MOST_MAX_LOSSES: Final = 1_000
#: What ends a run that is told to end, where nobody says how: SIGTERM, as Celery has it.
DEFAULT_SIGNAL: Final = 15
_MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRules:
    """What a task's class says of lost workers."""

    acks_late: bool = False
    reject_on_worker_lost: bool = False
    #: Celery sends a new message instead, as often as `max_retries` says.
    retry_on_worker_lost: bool = False
    acks_on_timeout: bool = True
    max_losses: int = DEFAULT_MAX_LOSSES


@dataclass(frozen=True, slots=True)
class Succeeded:
    """`on_success((0, text, runtime_s))`."""

    text: str
    runtime_s: float
    peak_kib: int | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """`on_success((1, info, runtime_s))`: what Celery's tracer saw and stored. `raised.exception_info` makes the info."""

    report: TaskReport
    peak_kib: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """`on_failure` with an `ExceptionInfo` of this exception: nobody has stored it."""

    error: BaseException
    #: Why the message is to be set aside, afterwards; None: it is not.
    aside: str | None = None
    peak_kib: int | None = None


@dataclass(frozen=True, slots=True)
class RaisedUnstored:
    """`on_failure` with `raised.exception_info` of the report: it was raised, and nobody has stored it."""

    report: TaskReport
    peak_kib: int | None = None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """`on_timeout(False, limit_s)`."""

    limit_s: float
    peak_kib: int | None = None


@dataclass(frozen=True, slots=True)
class NotBegun:
    """Nothing of it ran: no callback; the message is as it was, and may be run, here or by another."""

    why: str
    peak_kib: int | None = None


Verdict: TypeAlias = Succeeded | Raised | RaisedUnstored | Failed | TimedOut | NotBegun


def rules_of(task: Any, max_losses: int = DEFAULT_MAX_LOSSES) -> TaskRules:
    """Read a registered task's rules."""
    return TaskRules(
        acks_late=bool(task.acks_late),
        reject_on_worker_lost=bool(task.reject_on_worker_lost),
        retry_on_worker_lost=bool(getattr(task, "retry_on_worker_lost", False)),
        # Before Celery 5.7 there was one setting for both.
        acks_on_timeout=bool(getattr(task, "acks_on_timeout", getattr(task, "acks_on_failure_or_timeout", True))),
        max_losses=max_losses,
    )


def max_losses_of(found: object) -> int:
    """Check what `app.conf.mesolite_max_losses` says.

    Raises:
        ConfigError: It makes no sense.
    """
    if found is None:
        return DEFAULT_MAX_LOSSES
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= MOST_MAX_LOSSES:
        raise ConfigError(f"app.conf.{MAX_LOSSES_SETTING} is {found!r}; a whole number from 1 to {MOST_MAX_LOSSES}")
    return found


def verdict(
    ending: Ending, rules: TaskRules, options: TaskOptions, *, losses: int, signum: int | None, withdrawn: bool
) -> Verdict:
    """Say what an ending means.

    Args:
        ending: As a runner told it.
        rules: The task's.
        options: What the run was given.
        losses: How often the message went back before because a worker was lost under it.
        signum: The signal by which somebody told it to end; None where nobody did.
        withdrawn: The dispatcher stops, and takes back what has not begun.
    """
    judge = _Judge(rules, options, losses, signum, withdrawn)
    match ending:
        case Outcome():
            return judge.outcome(ending)
        case Lost():
            return judge.lost(f"its container is gone: {ending.reason}")
        case CallError():
            return judge.refused(ending)
        case _:
            assert_never(ending)


def is_last(decided: Verdict, rules: TaskRules, *, asked_back: bool) -> bool:
    """Say whether Celery certainly keeps nothing of the message: so that it is not run if the broker delivers it again.

    What is acknowledged early is so when it begins. Of late ones not said here, Celery may want another run.
    """
    return not rules.acks_late or (isinstance(decided, Succeeded | Raised) and not asked_back)


def refused_options(error: Exception) -> Failed:
    """Say what becomes of a message that asks for what makes no sense, or for what it may not ask for (options.py)."""
    return Failed(CannotRunHere(str(error)))


@dataclass(frozen=True, slots=True)
class _Judge:
    rules: TaskRules
    options: TaskOptions
    losses: int
    signum: int | None
    withdrawn: bool

    def outcome(self, outcome: Outcome) -> Verdict:
        match outcome.end:
            case End.RETURNED:
                return self._returned(outcome)
            case End.RAISED:
                return Failed(CannotRunHere(f"the worker could not run it: {_raised_text(outcome)}"))
            case End.UNPICKLABLE:
                return Failed(CannotRunHere(f"the worker cannot read it: {outcome.message}"))
            case End.DIED | End.BLOCK_LOST | End.TOO_LARGE:
                return self.lost(outcome.message or outcome.end.name)
            case End.OUT_OF_MEMORY:
                return self._out_of_memory(outcome.limit_bytes, outcome.peak_bytes, outcome.message)
            case End.TIMED_OUT:
                return self._timed_out(outcome.ran_us / 1e6)
            case End.CANCELLED:
                return self._cancelled(outcome)
            case End.REFUSED:
                return NotBegun(outcome.message or "its executor is ending")
            case _:
                assert_never(outcome.end)

    def refused(self, error: CallError) -> Verdict:
        match error:
            case TooLargeForCluster():
                return Failed(TaskTooLarge(str(error)))
            case CannotRun() | ArgumentsTooLarge() | NotPicklable():
                return Failed(CannotRunHere(str(error)))
            case OutOfMemory():
                return self._out_of_memory(error.limit_bytes, error.peak_bytes, str(error))
            case CallTimedOut():
                return self._timed_out(0)
            case CallKilled():
                return Failed(_terminated(self.signum))
            case _:
                return self.lost(str(error))

    def lost(self, why: str, error: WorkerLostError | None = None, peak_kib: int | None = None) -> Failed:
        """A worker was lost under it."""
        if self.signum is not None:
            return Failed(_terminated(self.signum), None, peak_kib)
        goes_back = self.rules.acks_late and self.rules.reject_on_worker_lost and not self.rules.retry_on_worker_lost
        if goes_back and self.losses + 1 >= self.rules.max_losses:
            return self._poisoned(f"a worker was lost under it; the last time: {why}", peak_kib)
        return Failed(error or WorkerLostError(f"Worker exited prematurely: {why}"), None, peak_kib)

    def _returned(self, outcome: Outcome) -> Verdict:
        try:
            if not isinstance(outcome.payload, bytes):
                raise BadBytes("it is not here")
            report = report_of(outcome.payload)
            match report.kind:
                case ReportKind.SUCCEEDED:
                    return Succeeded(report.text, report.runtime_s, report.peak_kib)
                case ReportKind.RAISED:
                    return self._raised(report)
                case ReportKind.UNKNOWN_TASK | ReportKind.NO_APP:
                    return Failed(CannotRunHere(report.text), None, report.peak_kib)
                case _:
                    assert_never(report.kind)
        except BadBytes as error:
            return self.lost(f"its report cannot be read: {error}")

    def _raised(self, report: TaskReport) -> Verdict:
        raised = raised_of(report)
        match raised.how:
            case How.OUT_OF_MEMORY:
                # Celery's parent would raise it, and end for it.
                return self._out_of_memory(0, report.peak_kib * 1024, "Python had no more memory to give: MemoryError")
            case How.EXITED:
                return self.lost(raised.shown, None, report.peak_kib)
            case _ if raised.traced:
                return Raised(report, report.peak_kib)
            case _:
                return RaisedUnstored(report, report.peak_kib)

    def _out_of_memory(self, limit_bytes: int, peak_bytes: int, message: str) -> Verdict:
        # A container has some more than its task: what the task was given is what its author knows.
        given_mib = self.options.kind.mem_mib
        limit_mib = min(limit_bytes // _MEBIBYTE, given_mib) or given_mib
        peak_mib = -(-peak_bytes // _MEBIBYTE)
        seen = f", {peak_mib} MiB were seen" if peak_mib else ""
        text = f"it went over its memory limit of {limit_mib} MiB{seen}" + (f" ({message})" if message else "")
        error = MemoryLimitExceeded(text, limit_mib, peak_mib)
        return self.lost(text, error, peak_bytes // 1024 or None)

    def _timed_out(self, ran_s: float) -> Verdict:
        limit_s = self.options.max_time_s or ran_s
        if self.rules.acks_late and not self.rules.acks_on_timeout and self.losses + 1 >= self.rules.max_losses:
            return self._poisoned(f"it ran longer than its limit of {limit_s:g} s")
        return TimedOut(limit_s)

    def _cancelled(self, outcome: Outcome) -> Verdict:
        if self.signum is None and not outcome.begun:
            return NotBegun(outcome.message or "it was withdrawn")
        if self.signum is None and self.withdrawn:
            return self.lost(f"the dispatcher ended it, because it stops: {outcome.message}")
        return Failed(_terminated(self.signum))

    def _poisoned(self, why: str, peak_kib: int | None = None) -> Failed:
        text = f"{self.losses + 1} times {why}"
        return Failed(Poisoned(f"{text}. Its message is set aside; see `mesolite celery-aside`"), text, peak_kib)


def _terminated(signum: int | None) -> BaseException:
    error: BaseException = Terminated(DEFAULT_SIGNAL if signum is None else signum)
    return error


def _raised_text(outcome: Outcome) -> str:
    try:
        _, type_name, message, _ = unpack_raised(outcome.payload if isinstance(outcome.payload, bytes) else b"")
    except BadBytes:
        return outcome.message or "no more is known"
    return f"{type_name}: {message}"
