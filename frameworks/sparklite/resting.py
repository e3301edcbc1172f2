"""Executors that get no task for a while: their agent's store took nothing, so that whatever they make is lost.

The agent may be starting again, or be gone without anybody having noticed; its executor lives on and would take one task after
the other, to let each wait for the store in vain.
"""

from typing import Final

#: How long an agent has to come back before its executor is tried again. One that was killed is there in about two seconds.
REST_MS: Final = 10_000


class Resting:
    """Which those are, and until when."""

    def __init__(self) -> None:
        self._until_ms: Final[dict[str, int]] = {}

    def __contains__(self, executor_id: str) -> bool:
        return executor_id in self._until_ms

    def rest(self, executor_id: str, now_ms: int) -> None:
        """Let one rest from now on."""
        self._until_ms[executor_id] = now_ms + REST_MS

    def forget(self, executor_id: str) -> None:
        """It is over."""
        self._until_ms.pop(executor_id, None)

    def take_rested(self, now_ms: int) -> list[str]:
        """Return those that are to be tried again; they rest no more."""
        rested = sorted(each for each, until_ms in self._until_ms.items() if until_ms <= now_ms)
        for executor_id in rested:
            del self._until_ms[executor_id]
        return rested

    def deadline_ms(self) -> int | None:
        """When the next has rested."""
        return min(self._until_ms.values(), default=None)
