"""What a worker's end means for the call that it had: pure decisions, from what is known of both."""

from dataclasses import dataclass, replace
from typing import Final

from .calls import Call, End, Outcome

#: Exit codes of workers that could not go on (worker.py, zygote.py).
EXIT_CHANNEL_LOST: Final = 119
EXIT_NOT_STARTED: Final = 118
#: The status of a worker that could not be forked.
NOT_FORKED: Final = -1
_KILLED: Final = 9
#: Signals by which programs die, by their numbers on Linux.
_SIGNALS: Final = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL, an instruction that this processor does not know",
    6: "SIGABRT, it aborted itself",
    7: "SIGBUS, memory that is not there",
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV, memory that is not its own",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
    31: "SIGSYS",
}
_MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Why we end a worker, for the call that it runs."""

    end: End
    message: str
    limit_bytes: int = 0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEnd:
    """How a worker ended."""

    #: As of wait(2).
    status: int
    #: The most resident memory that it had; 0 where nobody knows.
    peak_bytes: int = 0
    #: The kernel has killed for memory in this container since the last time it was asked.
    oom_killed: bool = False
    #: What the container may use; 0 where nobody knows.
    container_bytes: int = 0
    #: Why we ended it; None where we did not.
    intent: Intent | None = None


def outcome_of(worker: WorkerEnd, ran_us: int, output: str = "") -> Outcome:
    """The end of the call that a worker had taken when it ended.

    Args:
        worker: How it ended.
        ran_us: How long the call had run.
        output: Says how people see what the call printed; empty where it printed nothing.
    """
    outcome = _outcome(worker, ran_us)
    return replace(outcome, message=f"{outcome.message}; {output}") if output else outcome


def _outcome(worker: WorkerEnd, ran_us: int) -> Outcome:
    intent = worker.intent
    if intent is not None:
        peak = max(intent.peak_bytes, worker.peak_bytes) if intent.limit_bytes else 0
        return Outcome(
            intent.end, message=intent.message, ran_us=ran_us, limit_bytes=intent.limit_bytes, peak_bytes=peak
        )
    if worker.oom_killed and worker.status & 0x7F == _KILLED:
        text = f"the kernel ended the worker: the container's memory ({shown_mib(worker.container_bytes)}) was used up"
        limit, peak = worker.container_bytes, worker.peak_bytes
        return Outcome(End.OUT_OF_MEMORY, message=text, ran_us=ran_us, limit_bytes=limit, peak_bytes=peak)
    return Outcome(End.DIED, message=f"the worker process {shown_status(worker.status)}", ran_us=ran_us)


def shown_status(status: int) -> str:
    """How a process ended, in words."""
    if status == NOT_FORKED:
        return "could not be started: the system has no process left for it (see ulimit -u and pids limits)"
    signal = status & 0x7F
    if signal:
        return f"was ended by signal {signal} ({_SIGNALS.get(signal, 'unknown')})"
    code = status >> 8
    if code == EXIT_CHANNEL_LOST:
        return "lost the descriptors by which it answers: the function closed all descriptors of its process"
    if code == EXIT_NOT_STARTED:
        return "could not start; stderr of the executor says why"
    return f"exited with code {code}: the function called os._exit, or something that does"


def timed_out(call: Call) -> Intent:
    """For a call that ran longer than it may."""
    return Intent(end=End.TIMED_OUT, message=f"ran longer than {call.timeout_ms} ms")


def out_of_memory(limit_bytes: int, peak_bytes: int) -> Intent:
    """For a call whose worker uses more memory than it may."""
    text = f"the worker used {shown_mib(peak_bytes)} of memory; {shown_mib(limit_bytes)} are allowed"
    return Intent(end=End.OUT_OF_MEMORY, message=text, limit_bytes=limit_bytes, peak_bytes=peak_bytes)


def shown_mib(size_bytes: int) -> str:
    """A size for people."""
    return f"{size_bytes / _MEBIBYTE:,.0f} MiB"
