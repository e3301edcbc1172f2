"""The lease's numbers, each with its reason."""

from dataclasses import dataclass
from typing import Final

#: A lease of less would be lost to any hiccup of a loaded machine; with more, everything waits long for a dead leader.
MIN_TTL_MS: Final = 500
MAX_TTL_MS: Final = 60_000
#: Of a lease's time. Renewed this often, so that three renewals may get lost.
RENEW_PARTS: Final = 4
#: Of a lease's time. The holder ends this much earlier than the store: for clocks that run differently, and for what was begun
#: just before.
SAFETY_PARTS: Final = 8
#: A store that does not answer is asked again after this long. It is one small script.
RETRY_MS: Final = 100
#: How often one that waits looks whether the lease was given up before its time.
LOOK_MS: Final = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """What an operator may set.

    Raises:
        ValueError: Out of range.
    """

    #: How long a leader that says nothing still leads. ZooKeeper's session in Mesos is 10 s, and its failover 4 to 8 s (NSDI'11).
    ttl_ms: int = 2000

    def __post_init__(self) -> None:
        if not MIN_TTL_MS <= self.ttl_ms <= MAX_TTL_MS:
            raise ValueError(f"the lease's ttl_ms is {self.ttl_ms}; {MIN_TTL_MS} to {MAX_TTL_MS}")

    @property
    def renew_ms(self) -> int:
        """How often it is renewed."""
        return self.ttl_ms // RENEW_PARTS

    @property
    def safety_ms(self) -> int:
        """How much earlier its holder gives up leading than the store."""
        return self.ttl_ms // SAFETY_PARTS

    @property
    def courtesy_ms(self) -> int:
        """How long others leave a lease that ran out while the store was away to whoever held it: it needs no rebuilding."""
        return self.ttl_ms // 2
