"""Workers that die as soon as they are started: fewer and later ones follow, and why is said."""

from .settings import EARLY_DEATH_MS, FIRST_BACKOFF_MS, MAX_BACKOFF_MS


class StartBackoff:
    """Counts early deaths in a row."""

    def __init__(self) -> None:
        self._deaths = 0
        #: No worker is started before.
        self.until_ms = 0
        #: What the newest of them died of; empty while all is well.
        self.reason = ""

    @property
    def is_probing(self) -> bool:
        """Whether one worker at a time is started, until one lives."""
        return self._deaths > 0

    def died(self, now_ms: int, age_ms: int, reason: str) -> None:
        """A worker ended that nobody had asked to."""
        if age_ms >= EARLY_DEATH_MS:
            return
        self._deaths += 1
        self.reason = reason
        self.until_ms = now_ms + min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS << min(self._deaths - 1, 20))

    def lived(self) -> None:
        """A worker has been up for long enough."""
        self._deaths = 0
        self.until_ms = 0
        self.reason = ""
