"""How long calls of a function are expected to run, learnt from those that have."""

from collections import OrderedDict
from typing import Final

#: What a call of an unknown function is thought to take: two are sent to each worker, until it is known.
UNKNOWN_US: Final = 10_000
#: Starting a call and returning from it costs a worker about so much, however short it is.
LEAST_US: Final = 20
#: Functions of which durations are remembered; the longest known are forgotten.
MAX_ESTIMATES: Final = 4096
#: How much of the difference is believed at once, where a call ran longer, and where it ran shorter. Who guesses too little sends
#: too much ahead, which delays others; who guesses too much loses little.
_UP: Final = 2
_DOWN: Final = 8


class Estimates:
    """One for each function, by digest."""

    def __init__(self) -> None:
        self._known_us: OrderedDict[bytes, int] = OrderedDict()

    def of(self, digest: bytes) -> int:
        """Return what the next call is expected to take."""
        return self._known_us.get(digest, UNKNOWN_US)

    def learn(self, digest: bytes, ran_us: int) -> None:
        """A call took so long."""
        ran_us = max(ran_us, LEAST_US)
        known_us = self._known_us.get(digest)
        if known_us is None:
            self._known_us[digest] = ran_us
            if len(self._known_us) > MAX_ESTIMATES:
                self._known_us.popitem(last=False)
        elif ran_us > known_us:
            self._known_us[digest] = known_us + -(-(ran_us - known_us) // _UP)
        elif ran_us < known_us:
            self._known_us[digest] = known_us - -(-(known_us - ran_us) // _DOWN)
