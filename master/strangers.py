"""Who has been answered lately, and need not be again: senders that the master does not know, and others that ask in a loop."""

from .settings import MAX_STRANGERS


class Strangers:
    """Remembers, boundedly, when each unknown sender was last answered."""

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self._answered_ms: dict[str, int] = {}

    def should_answer(self, who: str, now_ms: int) -> bool:
        """Say whether `who` is to be answered now, and remember it if so."""
        last = self._answered_ms.pop(who, None)
        if last is not None and now_ms - last < self._interval_ms:
            self._answered_ms[who] = last
            return False
        self._answered_ms[who] = now_ms
        if len(self._answered_ms) > MAX_STRANGERS:
            del self._answered_ms[next(iter(self._answered_ms))]
        return True

    def forget(self, who: str) -> None:
        """They are known now."""
        self._answered_ms.pop(who, None)
