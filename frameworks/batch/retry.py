"""When a task is tried again, and how long to wait before.

Two things end an attempt that may be worth another: the task's own failure, which is retried only where the user says so, and
the loss of a task through no fault of its own (an offer was rescinded, an agent vanished), which is retried by default.
"""

from dataclasses import dataclass, field

from mesolite.errors import ConfigError
from mesolite.protocol import Reason, TaskState, TaskStatus

#: The task is gone, or must be taken for gone, and did nothing wrong (reference 1.7).
LOST_STATES = frozenset(
    {
        TaskState.DROPPED,
        TaskState.GONE,
        TaskState.GONE_BY_OPERATOR,
        TaskState.UNREACHABLE,
        TaskState.UNKNOWN,
    }
)
#: A task that FAILED for one of these was pushed, not at fault.
LOST_REASONS = frozenset(
    {
        Reason.CONTAINER_PREEMPTED,
        Reason.AGENT_REMOVED,
        Reason.AGENT_RESTARTED,
        Reason.AGENT_DISCONNECTED,
    }
)


def is_loss(status: TaskStatus) -> bool:
    """Whether an attempt ended through no fault of the task."""
    return status.state in LOST_STATES or (status.state is TaskState.FAILED and status.reason in LOST_REASONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often to try.

    Raises:
        ConfigError: A number is out of range.
    """

    #: Attempts that may end in a failure of the task's own; 1 never tries a failed task again.
    max_attempts: int = 1
    #: Only these exit codes are tried again; None means any.
    exit_codes: frozenset[int] | None = None
    #: Only failures with these reasons are tried again; None means any. A non-zero exit has COMMAND_EXECUTOR_FAILED or none.
    reasons: frozenset[Reason] | None = None
    #: Attempts that may be lost. Offers are rescinded and agents vanish; twenty times in a row is something else.
    max_losses: int = 20
    #: How long an UNREACHABLE task is waited for before it counts as lost. Its agent may come back; if it does so later, the
    #: old attempt is killed, so for a while two may run.
    unreachable_ms: int = 300_000
    #: The wait before the second attempt, doubling up to the cap. A first loss is tried again without any.
    backoff_ms: int = 1000
    backoff_cap_ms: int = 60_000
    #: States that count as failures of the task's own.
    states: frozenset[TaskState] = field(default=frozenset({TaskState.FAILED}))

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigError(f"max_attempts is {self.max_attempts}; at least 1")
        if self.max_losses < 0:
            raise ConfigError(f"max_losses is {self.max_losses}; at least 0")
        if not 0 <= self.backoff_ms <= self.backoff_cap_ms:
            raise ConfigError(f"backoff_ms is {self.backoff_ms}; 0 to backoff_cap_ms ({self.backoff_cap_ms})")
        if self.unreachable_ms < 0:
            raise ConfigError(f"unreachable_ms is {self.unreachable_ms}; at least 0")

    def wait_ms(self, status: TaskStatus, *, failures: int, losses: int) -> int | None:
        """Say how long to wait before the next attempt.

        Args:
            status: How this attempt ended.
            failures: Attempts that failed, this one included if it did.
            losses: Attempts that were lost, this one included if it was.

        Returns:
            Milliseconds, or None where this was the last attempt.
        """
        if is_loss(status):
            if losses > self.max_losses:
                return None
            return 0 if losses <= 1 else self._backoff(losses - 1)
        if failures >= self.max_attempts or not self._worth_another(status):
            return None
        return self._backoff(failures)

    def _worth_another(self, status: TaskStatus) -> bool:
        if status.state not in self.states:
            return False
        if self.reasons is not None and status.reason not in self.reasons:
            return False
        if self.exit_codes is None:
            return True
        container = status.container_status
        return container is not None and container.exit_code in self.exit_codes

    def _backoff(self, before: int) -> int:
        # Beyond 2**32 every cap is reached; an unbounded shift would build enormous numbers.
        return min(self.backoff_ms << min(before - 1, 32), self.backoff_cap_ms)
