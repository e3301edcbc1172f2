"""How many messages may be held beyond what Celery asks for, so that short tasks need no round trip each. Pure.

What ended lately, in a share of a second: of tasks that take long, that is none. The more are held the longer each waits here, so
that the number settles where a message waits about AHEAD_S.
"""

from collections import deque
from typing import Final

#: Messages for so long are held ahead: many times a round trip to Redis, and too short for another dispatcher to miss them.
AHEAD_S: Final = 0.05
#: And never more than this.
MAX_AHEAD: Final = 500
#: What "lately" means.
_WINDOW_S: Final = 0.5
#: Ends within so long are counted together.
_GRAIN_S: Final = 0.05


class Pace:
    """Counts ends."""

    def __init__(self) -> None:
        #: Ends by the beginning of their grain, seconds, oldest first.
        self._grains: deque[tuple[float, int]] = deque()
        self._count = 0

    def note(self, ended: int, now_s: float) -> None:
        """Say that messages had their last word."""
        self._count += ended
        if self._grains and now_s - self._grains[-1][0] < _GRAIN_S:
            began_s, before = self._grains[-1]
            self._grains[-1] = (began_s, before + ended)
        else:
            self._grains.append((now_s, ended))

    def ahead(self, now_s: float) -> int:
        """Return how many more may be held."""
        while self._grains and now_s - self._grains[0][0] > _WINDOW_S:
            self._count -= self._grains.popleft()[1]
        return min(MAX_AHEAD, int(self._count / _WINDOW_S * AHEAD_S))
