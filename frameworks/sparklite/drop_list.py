"""What workers are to forget, as a short list that travels in tasks."""

import threading
from typing import Final

#: The list has so many of the latest. A worker that was idle meanwhile keeps what it did not hear of until it needs the room.
MAX_DROPPED: Final = 64


class DropList:
    """Numbers of RDDs or broadcast values, each with its place in the order of all. For use from several threads."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._count = 0
        self._entries: tuple[tuple[int, int], ...] = ()

    def add(self, number: int) -> None:
        """Let workers forget it, once."""
        with self._lock:
            self._count += 1
            others = tuple(entry for entry in self._entries if entry[1] != number)
            self._entries = (*others, (self._count, number))[-MAX_DROPPED:]

    def entries(self) -> tuple[tuple[int, int], ...]:
        """`TaskSpec.dropped_rdds` or `.dropped_broadcasts`."""
        return self._entries
