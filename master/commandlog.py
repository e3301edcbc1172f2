"""Commands to one agent, numbered from 1 within an epoch and a life of the agent, kept until the agent confirms them.

kombu may lose a message (a Sentinel failover forgets the newest writes), so nothing here trusts it: what stays
unconfirmed is sent again, with back-off, and at once where the agent saw a gap (DESIGN 5).
"""

from collections import deque
from itertools import islice

from mesolite.protocol import Command

from .settings import COMMAND_RESEND_CAP_MS, COMMAND_RESEND_MS, MAX_UNCONFIRMED_COMMANDS


class CommandLog:
    """The numbered commands of one agent."""

    def __init__(self, first: int = 1) -> None:
        """Begin empty.

        Args:
            first: Number of the first command: 1, or behind what the agent has confirmed in this epoch and life already.
        """
        #: Number of the first command in `_unconfirmed`, or of the next one where it is empty.
        self._first = max(1, first)
        self._unconfirmed: deque[Command] = deque()
        #: How many of `_unconfirmed` need not be sent until their time comes.
        self._sent = 0
        #: The highest number that was ever sent: nothing beyond it can be confirmed.
        self._highest_sent = self._first - 1
        self._resend_at_ms: int | None = None
        self._resend_after_ms = COMMAND_RESEND_MS

    def __len__(self) -> int:
        return len(self._unconfirmed)

    @property
    def behind(self) -> bool:
        """The agent confirms too slowly to be offered."""
        return len(self._unconfirmed) > MAX_UNCONFIRMED_COMMANDS

    @property
    def full(self) -> bool:
        """No command that its sender will repeat should be added."""
        return len(self._unconfirmed) > 2 * MAX_UNCONFIRMED_COMMANDS

    @property
    def deadline_ms(self) -> int | None:
        """When unconfirmed commands are sent again."""
        return self._resend_at_ms

    def add(self, command: Command) -> None:
        """Number a command; it goes out with the next `take`."""
        self._unconfirmed.append(command)

    def confirm(self, number: int, now_ms: int) -> bool:
        """Forget the commands up to `number`.

        Returns:
            False where the agent claims a number that was never sent: it is not the agent that we talk to.
        """
        if number > self._highest_sent:
            return False
        forgotten = number - self._first + 1
        if forgotten <= 0:
            return True
        for _ in range(forgotten):
            self._unconfirmed.popleft()
        self._first += forgotten
        self._sent = max(0, self._sent - forgotten)
        self._resend_after_ms = COMMAND_RESEND_MS
        self._resend_at_ms = now_ms + COMMAND_RESEND_MS if self._sent else None
        return True

    def unconfirmed(self) -> tuple[Command, ...]:
        """What the agent has not confirmed, oldest first."""
        return tuple(self._unconfirmed)

    def resend(self) -> None:
        """Send everything unconfirmed with the next `take`: the agent saw a gap."""
        self._sent = 0
        self._resend_at_ms = None

    def take(self, now_ms: int) -> tuple[int, tuple[Command, ...]]:
        """Return what to send now, with the number of its first command: what is new, and all unconfirmed when its time came."""
        if self._resend_at_ms is not None and now_ms >= self._resend_at_ms:
            self._sent = 0
            self._resend_after_ms = min(self._resend_after_ms * 2, COMMAND_RESEND_CAP_MS)
            self._resend_at_ms = None
        if self._sent == len(self._unconfirmed):
            return self._first + self._sent, ()
        first = self._first + self._sent
        commands = tuple(islice(self._unconfirmed, self._sent, None))
        self._sent = len(self._unconfirmed)
        self._highest_sent = self._first + self._sent - 1
        if self._resend_at_ms is None:
            self._resend_at_ms = now_ms + self._resend_after_ms
        return first, commands

    def check(self) -> None:
        """Assert its invariants."""
        assert 0 <= self._sent <= len(self._unconfirmed)
        assert self._first >= 1
        assert self._first + self._sent - 1 <= self._highest_sent < self._first + len(self._unconfirmed)
        assert (self._resend_at_ms is None) == (self._sent == 0), "sent commands wait for a deadline, and only they"
