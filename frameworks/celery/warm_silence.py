"""Which executors of earlier lives say nothing of the calls that they are asked for.

An executor answers what it is asked in order, so one that has not answered the oldest question for long answers none. Only time
counts in which it could have been heard: after an outage, or a pause of this process, patience begins anew.
"""

from collections.abc import Mapping
from typing import Final

from mesolite.ids import ExecutorId

from ..futures.settings import SILENCE_PATIENCE_MS

#: Looks are a second apart. Where they are not, this process stood still, and has not read what was said meanwhile.
MAX_LOOK_PAUSE_MS: Final = 10_000


class Silences:
    """Since when executors say nothing."""

    def __init__(self) -> None:
        #: Of each the oldest question, and since when it is that.
        self._since: dict[str, tuple[int, int]] = {}
        self._looked_ms = 0

    def forget(self) -> None:
        """Nobody could be heard: patience begins anew."""
        self._since.clear()

    def look(self, now_ms: int, awaited: Mapping[str, int]) -> tuple[ExecutorId, ...]:
        """Return those that have been silent for too long; each once within the patience.

        Args:
            now_ms: The time.
            awaited: The oldest question that each has not answered; none while nobody could be heard.
        """
        if now_ms - self._looked_ms > MAX_LOOK_PAUSE_MS:
            self.forget()
        self._looked_ms = now_ms
        before, self._since = self._since, {}
        silent: list[ExecutorId] = []
        for executor_id, number in awaited.items():
            known, since_ms = before.get(executor_id, (0, now_ms))
            if known != number:
                since_ms = now_ms
            elif since_ms + SILENCE_PATIENCE_MS <= now_ms:
                silent.append(ExecutorId(executor_id))
                since_ms = now_ms
            self._since[executor_id] = (number, since_ms)
        return tuple(silent)
