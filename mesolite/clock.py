"""Time for shells. Cores never ask: the time comes in with each event.

A clock tells milliseconds since the Unix epoch that never step back: the wall clock at the process's start plus what the
kernel has counted since, so that an administrator who sets the clock does not expire every offer at once.
"""

import time
from typing import Final, Protocol

#: Counts on while the machine is suspended, as the world around it does (clock_gettime(2)): a master that slept through its
#: lease must know. Only Linux has it; elsewhere such a sleep is noticed by the store.
_STEADY: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Tells the time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 that never decrease."""
        ...


class SystemClock:
    """The machine's time."""

    def __init__(self) -> None:
        self._offset_ms = time.time_ns() // 1_000_000 - _steady_ms()

    def now_ms(self) -> int:
        """See `Clock`."""
        return self._offset_ms + _steady_ms()


def _steady_ms() -> int:
    return time.clock_gettime_ns(_STEADY) // 1_000_000


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
