"""Every process has a clock of its own: it is off by something, runs too fast or too slow, jumps, or stood still for a while.

A process's clock does what `SystemClock` lets it: what the wall clock said when the process began, plus what the monotonic
clock has counted since. So it never steps back within a life, and an administrator who sets the clock is seen by the next life
only. A server's clock is the wall clock itself, which may also step back.
"""

from typing import Final

from mesolite.clock import Clock


class SkewedClock:
    """A clock of the simulated world.

    Args:
        true: The world's own.
    """

    def __init__(self, true: Clock) -> None:
        self._true: Final = true
        #: This and the next are what it said when it was last touched, and when that was.
        self._said_ms: float = true.now_ms()
        self._touched_ms = true.now_ms()
        #: How much it counts in a true millisecond when it counts.
        self._rate = 1.0
        #: The same now: 0 where it stands, as the monotonic clock of a suspended machine.
        self._counts = 1.0

    def now_ms(self) -> int:
        """See `Clock`."""
        return int(self._said_ms + (self._true.now_ms() - self._touched_ms) * self._counts)

    def begin(self, *, off_by_ms: int, rate: float) -> None:
        """Begin a life: so far from the true time, and counting so fast."""
        self._said_ms = self._true.now_ms() + off_by_ms
        self._touched_ms = self._true.now_ms()
        self._rate = self._counts = rate

    def jump(self, by_ms: int) -> None:
        """Be so much further at once; back only where it is a server's."""
        self._settle()
        self._said_ms += by_ms

    def stop(self) -> None:
        """Stand still."""
        self._settle()
        self._counts = 0.0

    def go_on(self) -> None:
        """Count again, from where it stood."""
        self._settle()
        self._counts = self._rate

    def true_ms(self, at_ms: int) -> int:
        """Return the first true time at which this clock says so or more, if nobody touches it before."""
        left_ms = at_ms - self.now_ms()
        if left_ms <= 0:
            return self._true.now_ms()
        return self._true.now_ms() + max(1, int(left_ms / self._rate + 0.999))

    def _settle(self) -> None:
        self._said_ms = self.now_ms()
        self._touched_ms = self._true.now_ms()
