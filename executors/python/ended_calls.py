"""How calls ended that have a name of their own, remembered for a client that takes over from another.

A client that is over may have heard of an end and not acted on it. So ends are kept beyond their confirmation: the newest,
within bounds of number, size and age. What is not found here has not ended here, or long ago: `settled` says whether the client
before had time enough to act on all that is forgotten.

This is a core: time comes in.
"""

from collections import OrderedDict
from typing import Final

from .calls import BlockRef, End, Outcome

#: A worker that ends eight hundred calls a second has those of the last five seconds remembered.
MAX_ENDED: Final = 4096
#: Their outcomes: most are some hundred bytes.
MAX_ENDED_BYTES: Final = 8 * 1024 * 1024
#: Of one outcome; what is larger is said to be gone.
MAX_OUTCOME_BYTES: Final = 1024 * 1024
#: As long as streams stay that nobody refreshes.
MAX_AGE_MS: Final = 6 * 3_600_000
#: Whoever hears of an end has acted on it after so long, if it lives: milliseconds, or as long as its Redis is away.
SETTLED_AFTER_MS: Final = 5_000
#: What an end costs beside its payload.
_ENTRY_BYTES: Final = 256


class EndedCalls:
    """Of one executor."""

    def __init__(self) -> None:
        #: By name, oldest first: the outcome, and when it ended.
        self._known: OrderedDict[str, tuple[Outcome, float]] = OrderedDict()
        self._bytes = 0
        #: When the newest ended that is forgotten.
        self._forgotten_ms = float("-inf")

    def keep(self, name: str, outcome: Outcome, now_ms: float) -> None:
        """A call of this name has ended."""
        old = self._known.pop(name, None)
        if old is not None:
            self._bytes -= _size_bytes(old[0])
        outcome = _cut(outcome)
        self._known[name] = (outcome, now_ms)
        self._bytes += _size_bytes(outcome)
        while len(self._known) > MAX_ENDED or self._bytes > MAX_ENDED_BYTES or self._oldest_ms < now_ms - MAX_AGE_MS:
            _, (gone, ended_ms) = self._known.popitem(last=False)
            self._bytes -= _size_bytes(gone)
            self._forgotten_ms = max(self._forgotten_ms, ended_ms)

    def get(self, name: str) -> Outcome | None:
        """Return how the call of this name ended; None where it is not remembered."""
        known = self._known.get(name)
        return None if known is None else known[0]

    def settled(self, heard_ms: float) -> bool:
        """Whether a client that was last heard at this moment had time to act on all that is forgotten."""
        return self._forgotten_ms <= heard_ms - SETTLED_AFTER_MS

    def check(self) -> None:
        """Assert its invariants."""
        assert len(self._known) <= MAX_ENDED
        assert self._bytes == sum(_size_bytes(outcome) for outcome, _ in self._known.values()) <= MAX_ENDED_BYTES

    @property
    def _oldest_ms(self) -> float:
        return next(iter(self._known.values()))[1]


def _size_bytes(outcome: Outcome) -> int:
    payload_bytes = 0 if isinstance(outcome.payload, BlockRef) else len(outcome.payload)
    return _ENTRY_BYTES + payload_bytes + len(outcome.message)


def _cut(outcome: Outcome) -> Outcome:
    if _size_bytes(outcome) <= MAX_OUTCOME_BYTES:
        return outcome
    message = (
        f"it ended ({outcome.end.name.lower()}), and what it had to say was too large to be kept for another client"
    )
    return Outcome(End.BLOCK_LOST, message=message, begun=outcome.begun, ran_us=outcome.ran_us)
