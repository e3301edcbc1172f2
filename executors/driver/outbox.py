"""The updates of an executor that its agent has not acknowledged: kept in order, said on every connection, until it has.

Two bounds. A window of bytes is under way at a time, so that a slow agent fills this list and no buffer of a socket's. And the
list itself is bounded; what happens there is the core's to say.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from .codec import quoted_length
from .protocol import TaskId, Update

#: Said and not acknowledged, at most; one update more where a single one is larger.
WINDOW_BYTES: Final = 8 * 1024 * 1024
#: Kept, at most, before updates are refused or shortened: what an executor may cost its container while its agent is away.
MAX_KEPT_BYTES: Final = 64 * 1024 * 1024
#: Of the updates in SUBSCRIBE: with the ids of tasks (MAX_UNHEARD_BYTES) it stays below the longest line.
MAX_SUBSCRIBE_UPDATES_BYTES: Final = 3 * 1024 * 1024
#: An update's line without its texts and data: names of fields, state, reason, number, time.
_FRAME_BYTES: Final = 320


class _Kept:
    """An update and where it stands."""

    __slots__ = ("line_bytes", "said", "update")

    def __init__(self, update: Update) -> None:
        self.update = update
        #: At most what its line takes.
        self.line_bytes = line_bytes(update)
        #: On the connection that stands.
        self.said = False


def line_bytes(update: Update) -> int:
    """Return what an update's line takes at most."""
    texts = quoted_length(update.task_id) + (quoted_length(update.message) if update.message else 0)
    return _FRAME_BYTES + texts + 4 * ((len(update.data) + 2) // 3)


class Outbox:
    """Keeps updates."""

    def __init__(self) -> None:
        #: By update id, in the order in which they arose.
        self._kept: dict[str, _Kept] = {}
        #: Not said on this connection yet, in order; those that were acknowledged meanwhile are passed over.
        self._unsaid: deque[_Kept] = deque()
        self._kept_bytes = 0
        #: Said on this connection and not acknowledged.
        self._under_way_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Update]:
        return (kept.update for kept in self._kept.values())

    def has_room(self, update: Update) -> bool:
        """Whether it may be kept without breaking the bound."""
        return self._kept_bytes + line_bytes(update) <= MAX_KEPT_BYTES

    def add(self, update: Update) -> None:
        """Keep an update; it is said when its turn comes."""
        kept = _Kept(update)
        self._kept[update.update_id] = kept
        self._kept_bytes += kept.line_bytes
        self._unsaid.append(kept)

    def acknowledge(self, task_id: TaskId, update_id: str) -> Update | None:
        """Forget an update and return it; None where there is no such one."""
        kept = self._kept.get(update_id)
        if kept is None or kept.update.task_id != task_id:
            return None
        del self._kept[update_id]
        self._kept_bytes -= kept.line_bytes
        if kept.said:
            self._under_way_bytes -= kept.line_bytes
        # Where it waits to be said it is passed over there.
        kept.said = True
        return kept.update

    def start_over(self) -> None:
        """There is a new connection, on which nothing was said."""
        self._unsaid = deque(self._kept.values())
        self._under_way_bytes = 0
        for kept in self._unsaid:
            kept.said = False

    def take(self, limit_bytes: int = WINDOW_BYTES) -> tuple[Update, ...]:
        """Return what may be said now and count it as said: in order, as much as the window, and the limit, let through."""
        taken: list[Update] = []
        taken_bytes = 0
        while self._unsaid:
            kept = self._unsaid[0]
            if not kept.said:
                over = self._under_way_bytes and self._under_way_bytes + kept.line_bytes > WINDOW_BYTES
                if over or taken_bytes + kept.line_bytes > limit_bytes:
                    break
                kept.said = True
                taken.append(kept.update)
                taken_bytes += kept.line_bytes
                self._under_way_bytes += kept.line_bytes
            self._unsaid.popleft()
        return tuple(taken)

    def check(self) -> None:
        """Assert what always holds."""
        assert self._kept_bytes == sum(kept.line_bytes for kept in self._kept.values())
        assert self._under_way_bytes == sum(kept.line_bytes for kept in self._kept.values() if kept.said)
        unsaid = [kept.update.update_id for kept in self._unsaid if not kept.said]
        assert unsaid == [name for name, kept in self._kept.items() if not kept.said], "said out of order"
