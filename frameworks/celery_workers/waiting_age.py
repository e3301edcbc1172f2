"""How long the oldest message has waited. Messages of Celery do not say when they were sent, so it is reckoned:

A queue is first in, first out. What waited at some moment has all been begun when as many tasks have begun since; if fewer have,
the oldest of those that wait now was there already. So its age is the time since the earliest such moment. Priorities make it an
estimate, as does anybody else who takes from the queue: then it is too high.
"""

from collections import deque
from typing import Final

from .settings import MAX_LOOKS


class WaitingAge:
    """Looks of late: when, how many waited, how many had been begun in all."""

    def __init__(self) -> None:
        self._looks: Final[deque[tuple[int, int, int]]] = deque(maxlen=MAX_LOOKS)
        #: What each worker said last to have begun, and what all have in their lives.
        self._begun_by: dict[str, int] = {}
        self._begun = 0
        self._begun_before = 0

    def note_begun(self, node: str, begun: int) -> None:
        """A worker says how many tasks it has begun; fewer than before, where another has its name now."""
        before = self._begun_by.get(node, 0)
        self._begun += begun - before if begun >= before else begun
        self._begun_by[node] = begun

    def take_begun(self) -> int:
        """Count the tasks begun since this was asked last."""
        begun, self._begun_before = self._begun - self._begun_before, self._begun
        return begun

    def forget(self, node: str) -> None:
        """A worker is over."""
        self._begun_by.pop(node, None)

    def look(self, now_ms: int, waiting: int) -> int:
        """Take in how many wait, and return for how many milliseconds the oldest has."""
        self._looks.append((now_ms, waiting, self._begun))
        since_ms = now_ms
        if waiting == 0:
            return 0
        for at_ms, waited, begun in reversed(self._looks):
            if waited <= self._begun - begun:
                break
            since_ms = at_ms
        return now_ms - since_ms
