"""Time for shells. Cores never ask: the time comes in with each event.

A clock tells milliseconds since the Unix epoch that never step back: the wall clock at the process's start plus what the
monotonic clock has counted since, so that an administrator who sets the clock does not expire every offer at once.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 that never decrease."""
        ...


class SystemClock:
    """The machine's time."""

    def __init__(self) -> None:
        self._offset_ms = time.time_ns() // 1_000_000 - time.monotonic_ns() // 1_000_000

    def now_ms(self) -> int:
        """See `Clock`."""
        return self._offset_ms + time.monotonic_ns() // 1_000_000


class ManualClock:
    """Time that passes only when told to: for tests and the simulator."""

    def __init__(self, now_ms: int = 1_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """See `Clock`."""
        return self._now_ms

    def advance(self, by_ms: int) -> None:
        """Let time pass."""
        assert by_ms >= 0, "time does not run backwards"
        self._now_ms += by_ms
