"""How long to wait before a Redis that did not answer is asked again.

While it may be failing over, and Sentinels need some two seconds for that, the pauses are short, because each costs the whole
cluster the time between its return and the next attempt. After half a minute it is another kind of outage: then they grow.
"""

from typing import Final

#: The first pauses: a connection that merely broke is made anew at once.
FIRST_MS: Final = 20
#: The longest pause of a failover. Ten thousand agents then ask 50,000 times a second, which is for three Sentinels to bear: so
#: not less.
QUICK_CAP_MS: Final = 200
#: So many attempts are made with short pauses: half a minute, and more where attempts themselves take time.
QUICK_ATTEMPTS: Final = 150
#: The longest pause of any outage.
CAP_MS: Final = 2000


class Retries:
    """Pauses between attempts, from FIRST_MS doubling to QUICK_CAP_MS, and after QUICK_ATTEMPTS on to CAP_MS."""

    def __init__(self) -> None:
        self._attempts = 0
        self._next_ms = FIRST_MS

    @property
    def is_first(self) -> bool:
        """No attempt has failed since the last success."""
        return self._attempts == 0

    def take_ms(self) -> int:
        """Note that an attempt failed, and return the pause before the next."""
        self._attempts += 1
        cap_ms = QUICK_CAP_MS if self._attempts <= QUICK_ATTEMPTS else CAP_MS
        pause_ms = min(self._next_ms, cap_ms)
        self._next_ms = min(2 * pause_ms, CAP_MS)
        return pause_ms

    def reset(self) -> None:
        """Note that an attempt succeeded."""
        self._attempts = 0
        self._next_ms = FIRST_MS
