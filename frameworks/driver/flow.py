"""How much the driver has said that no master has dealt with yet, and whether the scheduler should wait.

Each event batch tells how far the master has heard (`EventBatch.heard`). What was said since is outstanding: it lies in Redis,
waits for a master to be elected, or for one that is busy. A scheduler that goes on regardless makes that queue longer, in which
its own kills stand as well. So beyond a bound it is told that the way is congested, and told again when half of it is through.

Nothing that must not get lost is refused for that: launches are bounded by the offers held, kills by the tasks. Messages to
executors, which are best effort, are dropped while the way is congested.
"""

from collections import deque
from typing import Final

from .settings import CONGESTED_WEIGHT, RELIEVED_WEIGHT


class Flow:
    """Calls under way to the master."""

    def __init__(self) -> None:
        #: Number and weight of each batch that was not heard, oldest first.
        self._batches: Final[deque[tuple[int, int]]] = deque()
        #: The sum of their weights, in tasks launched (`outbox.weight`).
        self.outstanding = 0
        #: Whether the scheduler should hold back.
        self.congested = False
        #: What the scheduler was told last.
        self._told = False

    def sent(self, number: int, weight: int) -> None:
        """A batch leaves."""
        self._batches.append((number, weight))
        self.outstanding += weight
        if self.outstanding > CONGESTED_WEIGHT:
            self.congested = True

    def heard(self, number: int) -> None:
        """The master has dealt with all batches up to this one."""
        while self._batches and self._batches[0][0] <= number:
            self.outstanding -= self._batches.popleft()[1]
        if self.outstanding <= RELIEVED_WEIGHT:
            self.congested = False

    def forget(self) -> None:
        """The subscription is broken: what is outstanding was dealt with, or never will be, and is reconciled in either case."""
        self._batches.clear()
        self.outstanding = 0
        self.congested = False

    def take_news(self) -> bool | None:
        """Return what the scheduler is to be told, or None where it knows."""
        if self.congested == self._told:
            return None
        self._told = self.congested
        return self._told

    def check(self) -> None:
        """Assert its invariants."""
        assert self.outstanding == sum(weight for _, weight in self._batches)
        assert self.congested or self.outstanding <= CONGESTED_WEIGHT
