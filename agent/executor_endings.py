"""What the end of an executor is called: for the master, and for each of its tasks that had not ended (reference 1.7, 1.15)."""

import enum
from typing import Final

from msgspec import Struct

from mesolite.executors.command import KillCause, Limits, Outcome, Verdict, verdict_of
from mesolite.ids import ExecutorId
from mesolite.protocol import Reason, TaskState

from .executor_lifecycle import ExecutorCause

_MIB: Final = 1024 * 1024
#: A death by signal N shows as exit code 128 + N, as in a shell.
_SIGNAL_BASE: Final = 128


class Loss(enum.Enum):
    """Why the agent ends an executor that was not asked to end."""

    #: It did not subscribe in time after its first process ran.
    REGISTRATION_TIMEOUT = "REGISTRATION_TIMEOUT"
    #: It did not come back in time, to a new life of the agent or after its connection broke.
    REREGISTRATION_TIMEOUT = "REREGISTRATION_TIMEOUT"


class ExecutorEnding(Struct, frozen=True, kw_only=True, gc=False):
    """How an executor ended."""

    executor_id: ExecutorId
    #: LAUNCH_FAILED, EXITED or LOST.
    cause: ExecutorCause
    loss: Loss | None
    #: It was asked to end.
    was_shut_down: bool
    outcome: Outcome
    #: Of its container.
    limits: Limits

    def text(self) -> str:
        """For people."""
        name, outcome = f"executor {self.executor_id!r}", self.outcome
        if self.cause is ExecutorCause.LAUNCH_FAILED:
            return _joined(f"{name} could not be launched", outcome.message)
        if self.loss is Loss.REGISTRATION_TIMEOUT:
            return f"{name} did not subscribe in time, and was ended"
        if self.loss is Loss.REREGISTRATION_TIMEOUT:
            return f"{name} did not come back to its agent in time, and was ended"
        if self.cause is ExecutorCause.LOST:
            return f"the container of {name} ended while the agent was away"
        if self.was_shut_down:
            return _joined(f"{name} was shut down", outcome.message)
        if outcome.oom_killed:
            peak = (
                f"; its peak was {outcome.peak_mem_bytes / _MIB:.1f} MiB" if outcome.peak_mem_bytes is not None else ""
            )
            return f"{name} exceeded its memory limit of {self.limits.mem_mib} MiB{peak}"
        return _joined(f"{name} {_exit_text(outcome.exit_code)}", outcome.message)

    def verdict(self, kill_cause: KillCause | None, told: bool) -> Verdict:
        """Name the end of a task that had not ended.

        Args:
            kill_cause: Why the task was being killed.
            told: The executor knew of it.
        """
        if kill_cause is not None:
            return verdict_of(Outcome(started=told), kill_cause, self.limits)
        return Verdict(state=self._state(told), reason=self._reason(), message=self.text())

    def _state(self, told: bool) -> TaskState:
        lost = self.cause is ExecutorCause.LOST or self.loss is Loss.REREGISTRATION_TIMEOUT
        if not lost:
            return TaskState.FAILED
        return TaskState.GONE if told else TaskState.DROPPED

    def _reason(self) -> Reason:
        if self.cause is ExecutorCause.LAUNCH_FAILED:
            return Reason.CONTAINER_LAUNCH_FAILED
        if self.loss is Loss.REGISTRATION_TIMEOUT:
            return Reason.EXECUTOR_REGISTRATION_TIMEOUT
        if self.loss is Loss.REREGISTRATION_TIMEOUT:
            return Reason.EXECUTOR_REREGISTRATION_TIMEOUT
        if self.cause is ExecutorCause.LOST:
            return Reason.AGENT_RESTARTED
        return Reason.CONTAINER_LIMITATION_MEMORY if self.outcome.oom_killed else Reason.EXECUTOR_TERMINATED


def _exit_text(exit_code: int | None) -> str:
    if exit_code is None:
        return "ended; its exit code could not be learnt"
    if exit_code > _SIGNAL_BASE:
        return f"was ended by signal {exit_code - _SIGNAL_BASE}"
    return f"exited with code {exit_code}"


def _joined(first: str, second: str) -> str:
    return f"{first}: {second}" if second else first
