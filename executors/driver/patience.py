"""How long an executor waits between attempts to reach its agent, and when it gives up.

An agent that restarts is away for a second or two, and tasks must not notice. So the first attempt is made at once, the next ones
after 50 ms, doubling to 2 s (Mesos's `MESOS_SUBSCRIPTION_BACKOFF_MAX`), and only a connection that stood for a while begins anew
with the short ones: an agent that takes a connection and closes it is not to be asked a thousand times a second.
"""

from typing import Final

FIRST_WAIT_MS: Final = 50
LONGEST_WAIT_MS: Final = 2000
#: A subscription that stood for so long was a good one: the next attempt is a first one.
STABLE_AFTER_MS: Final = 2000
#: Without an agent for so long, the executor ends its tasks and exits (reference 1.15, `recovery_timeout`).
RECOVERY_TIMEOUT_MS: Final = 15 * 60_000
#: So many connections in a row that ended in words which one side did not understand: waiting will not mend that.
MAX_FAULTS: Final = 10
#: A subscription that stood for so long before such words does not count as one in a row.
FAULTS_FORGOTTEN_AFTER_MS: Final = 60_000


class Patience:
    """Knows when to try again, and when no more."""

    def __init__(self, recovery_timeout_ms: int = RECOVERY_TIMEOUT_MS) -> None:
        self._recovery_timeout_ms = recovery_timeout_ms
        self._next_wait_ms = 0
        self._faults = 0
        #: When the subscription began that stands; None where none does.
        self._subscribed_ms: int | None = None
        #: When it is given up; None while a subscription stands.
        self.give_up_ms: int | None = None

    def started(self, now_ms: int) -> None:
        """The executor begins, without a subscription."""
        self.give_up_ms = now_ms + self._recovery_timeout_ms

    def subscribed(self, now_ms: int) -> None:
        """The subscription stands."""
        self._subscribed_ms = now_ms
        self.give_up_ms = None

    def lost(self, now_ms: int) -> None:
        """The connection is over, or was not made."""
        if self._subscribed_ms is not None:
            self.give_up_ms = now_ms + self._recovery_timeout_ms
            if now_ms - self._subscribed_ms >= STABLE_AFTER_MS:
                self._next_wait_ms = 0
        self._subscribed_ms = None

    def fault(self, now_ms: int) -> bool:
        """One side did not understand the other; return whether that was once too often."""
        if self._subscribed_ms is not None and now_ms - self._subscribed_ms >= FAULTS_FORGOTTEN_AFTER_MS:
            self._faults = 0
        self._faults += 1
        return self._faults >= MAX_FAULTS

    def take_wait_ms(self) -> int:
        """Return how long to wait before the next attempt; the one after waits longer."""
        wait_ms = self._next_wait_ms
        self._next_wait_ms = min(LONGEST_WAIT_MS, max(FIRST_WAIT_MS, 2 * wait_ms))
        return wait_ms
