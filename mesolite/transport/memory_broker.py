"""What a Redis server and its queues are to one cluster, in memory: the state behind `MemoryStore` and `MemoryBus`.

Nothing here knows the contract's methods; it knows streams, positions in them, and how to wait for a change.
"""

import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from mesolite.clock import Clock, SystemClock
from mesolite.errors import RedisUnavailable

from .contract import BEGINNING, Entry, Lease, LeaseState

#: A trimmed stream drops its dead head once it is this long and longer than what lives: moving a list's items is cheap
#: when it is rare.
_COMPACT_AT: Final = 1024

_Position = tuple[int, int]
_Item = TypeVar("_Item")


def parse_entry_id(entry_id: str) -> tuple[int, int]:
    """Split an entry id into milliseconds and sequence, which compare as the id orders.

    Raises:
        ValueError: It is not an entry id.
    """
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


class MemoryStream:
    """Entries in order, oldest first, found by bisection."""

    __slots__ = ("_entries", "_head", "_positions")

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        #: Parallel to `_entries`.
        self._positions: list[_Position] = []
        #: How many at the front are trimmed and not yet dropped.
        self._head = 0

    def __len__(self) -> int:
        return len(self._entries) - self._head

    def append(self, position: _Position, entry: Entry, max_length: int) -> None:
        self._entries.append(entry)
        self._positions.append(position)
        if len(self) > max_length:
            self._drop_to(len(self._entries) - max_length)

    def after(self, position: _Position, limit: int) -> list[Entry]:
        start = bisect_right(self._positions, position, lo=self._head)
        return self._entries[start : start + limit]

    def trim_before(self, position: _Position) -> None:
        """Keep what stands at `position` or behind it (XTRIM MINID)."""
        self._drop_to(bisect_right(self._positions, (position[0], position[1] - 1), lo=self._head))

    def last_id(self) -> str:
        return self._entries[-1].entry_id if len(self) else BEGINNING

    def _drop_to(self, head: int) -> None:
        self._head = head
        if head >= _COMPACT_AT and head * 2 >= len(self._entries):
            del self._entries[:head]
            del self._positions[:head]
            self._head = 0


class MemoryBroker:
    """One cluster's Redis, in memory.

    Args:
        clock: Stamps entries and ends the life of keys. With a `ManualClock` everything here is deterministic.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        #: False makes every call raise `RedisUnavailable`, as a Redis that is down does.
        self.available = True
        #: Guards everything below.
        self.lock = threading.Lock()
        self.streams: dict[str, MemoryStream] = {}
        self.registry: dict[str, bytes] = {}
        self.cursor: dict[str, str] = {}
        self.epoch = 0
        #: Who leads, and until when.
        self.lease: tuple[Lease, int] | None = None
        #: Key -> value and the time at which it expires (None: never).
        self.values: dict[str, tuple[bytes, int | None]] = {}
        #: Key -> the generation that claimed it, and its values. The values are never changed in place.
        self.states: dict[str, tuple[int, dict[str, bytes]]] = {}
        self.queues: dict[str, deque[bytes]] = {}
        self._changed = threading.Condition(self.lock)
        #: How many threads wait for a change; a writer that finds nobody skips the wake-up.
        self._waiting = 0
        self._last: _Position = (0, 0)

    def append(self, stream: str, payload: bytes, max_length: int) -> str:
        """Append to a stream. The caller holds `lock`."""
        now_ms = self.clock.now_ms()
        milliseconds, sequence = self._last
        position = (now_ms, 0) if now_ms > milliseconds else (milliseconds, sequence + 1)
        self._last = position
        entry_id = f"{position[0]}-{position[1]}"
        target = self.streams.get(stream)
        if target is None:
            target = self.streams[stream] = MemoryStream()
        target.append(position, Entry(stream=stream, entry_id=entry_id, payload=payload), max_length)
        return entry_id

    def lease_state(self) -> LeaseState:
        """Return the lease, if it has not run out. The caller holds `lock`."""
        left_ms = self.lease[1] - self.clock.now_ms() if self.lease is not None else 0
        if self.lease is None or left_ms <= 0:
            return LeaseState(lease=None, left_ms=0)
        return LeaseState(lease=self.lease[0], left_ms=left_ms)

    def wake(self) -> None:
        """Wake blocked readers. The caller holds `lock`."""
        if self._waiting:
            self._changed.notify_all()

    def check_available(self) -> None:
        """Fail as a Redis that is down does.

        Raises:
            RedisUnavailable: `available` is False.
        """
        if not self.available:
            raise RedisUnavailable("the memory broker was made unavailable")

    def wait_for(self, take: Callable[[], list[_Item]], wait_ms: int) -> list[_Item]:
        """Return what `take` finds, waiting at most `wait_ms` of real time for it to find anything."""
        with self.lock:
            self.check_available()
            found = take()
            if found or wait_ms <= 0:
                return found
            deadline = time.monotonic() + wait_ms / 1000
            self._waiting += 1
            try:
                while not found and (left := deadline - time.monotonic()) > 0:
                    self._changed.wait(left)
                    self.check_available()
                    found = take()
            finally:
                self._waiting -= 1
            return found
