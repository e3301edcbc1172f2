"""Calls that were given ahead and stand behind others that take long, while workers elsewhere are idle: which to take back.

Calls are given ahead by what they are thought to take, and thoughts err. A call that another one waits for, and that stands
behind it in the same executor, would wait for ever. So when an executor that has more calls than workers has ended none for a
while, and others of its kind have idle workers, as many of its calls as there are idle workers are asked back: the newest, and
only those that it has not begun. What it did begin it keeps, and says nothing; what it gives back goes to whoever is idle. So a
call still begins at most once.

This is a core: time comes in.
"""

from collections.abc import Sequence
from typing import Final

from .engine_executor import ExecutorEnd

#: How long an executor may be busy without an end before calls are asked back: a few times what is given ahead (`AHEAD_US`).
RECALL_AFTER_MS: Final = 50


class Recall:
    """Remembers since when each executor has ended nothing."""

    def __init__(self) -> None:
        #: By executor: how many calls it had ended, and since when it has been so many.
        self._quiet: dict[str, tuple[int, float]] = {}

    def look(self, ends: Sequence[ExecutorEnd], now_ms: float) -> tuple[list[ExecutorEnd], float | None]:
        """Look at all executors of one kind, for which no call waits, and have calls asked back.

        Returns:
            Executors that are to be told, and when to look again; None where only news can change anything.
        """
        asked: list[ExecutorEnd] = []
        due_ms: float | None = None
        idle = sum(max(0, end.workers - len(end.given)) for end in ends if end.has_room)
        for end in ends:
            if not idle or len(end.given) <= end.workers:
                self._quiet.pop(end.executor_id, None)
                continue
            ended, since_ms = self._quiet.get(end.executor_id, (-1, now_ms))
            if ended != end.ended:
                since_ms = now_ms
            elif now_ms - since_ms >= RECALL_AFTER_MS:
                idle -= len(end.recall(idle))
                asked.append(end)
                since_ms = now_ms
            self._quiet[end.executor_id] = (end.ended, since_ms)
            due_ms = since_ms + RECALL_AFTER_MS if due_ms is None else min(due_ms, since_ms + RECALL_AFTER_MS)
        return asked, due_ms

    def forget(self, executor_id: str) -> None:
        """An executor is over."""
        self._quiet.pop(executor_id, None)
