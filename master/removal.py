"""How many agents may become UNREACHABLE at once (Mesos: agent_removal_rate_limit, reference 1.15).

When a switch dies, half a cluster falls silent in the same second, and mostly comes back. To call all of it lost at once makes
every framework start everything again, on the other half. So removals draw on a bucket that fills slowly; who speaks again
while waiting for its turn is not removed at all.
"""

from typing import Final


class RemovalLimit:
    """A bucket of removals, full at first."""

    def __init__(self, limit: int, interval_ms: int) -> None:
        """Begin full.

        Args:
            limit: Removals that the bucket holds, and that flow into it in each interval.
            interval_ms: How long that takes.
        """
        self._interval_ms: Final = interval_ms
        self._rate: Final = limit
        #: In removals times `_interval_ms`, so that nothing is ever rounded.
        self._full: Final = limit * interval_ms
        self._level = self._full
        self._filled_ms: int | None = None

    def take(self, wanted: int, now_ms: int) -> int:
        """Take up to so many removals out of the bucket, and return how many there were."""
        if self._filled_ms is not None:
            self._level = min(self._full, self._level + max(0, now_ms - self._filled_ms) * self._rate)
        self._filled_ms = now_ms
        taken = min(wanted, self._level // self._interval_ms)
        self._level -= taken * self._interval_ms
        return taken
