"""Where everything that happens to an agent waits for its core: filled by any thread, emptied by one at a time."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from .intake import Item


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Items whose bringer wants to know when they are taken."""

    items: Sequence[Item]
    taken: threading.Event = field(default_factory=threading.Event)


class Inbox:
    """A queue that is never full for those who must not block; who can wait uses `hand_over`.

    Waiting and taking are apart, so that items can be taken by whoever does the next pass, in their order, and nobody holds some
    while another passes by with newer ones.
    """

    def __init__(self) -> None:
        self._items: Final[deque[Item | HandedOver]] = deque()
        #: Wakes who waits, once or more for what is there; a signal's handler may ring while the same thread listens.
        self._bell: Final[queue.SimpleQueue[None]] = queue.SimpleQueue()

    @property
    def waiting(self) -> int:
        """How many items wait; those that were handed over together count as one."""
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add an item and wake who waits; from any thread, never blocks."""
        self._items.append(item)
        self.ring()

    def put_quietly(self, item: Item) -> None:
        """Add an item. Who does it takes it himself, or rings."""
        self._items.append(item)

    def ring(self) -> None:
        """Wake who waits."""
        self._bell.put(None)

    def hand_over(self, items: Sequence[Item]) -> threading.Event:
        """Add items; what is returned is set once they are taken. Who waits for it has no more than these in the inbox."""
        handed_over = HandedOver(items)
        self._items.append(handed_over)
        self.ring()
        return handed_over.taken

    def wait(self, wait_ms: int) -> None:
        """Wait until there is something or the bell rings, at most `wait_ms`; one thread at a time."""
        with contextlib.suppress(queue.Empty):
            if wait_ms > 0 and not self._items:
                self._bell.get(timeout=wait_ms / 1000)
            # Whatever it rang for is among the items by now.
            while True:
                self._bell.get_nowait()

    def take(self, limit: int) -> list[Item]:
        """Return the oldest items in their order, and wait for none; one thread at a time.

        Args:
            limit: As many; what was handed over together comes together.
        """
        items: list[Item] = []
        while self._items and len(items) < limit:
            item = self._items.popleft()
            if isinstance(item, HandedOver):
                items += item.items
                item.taken.set()
            else:
                items.append(item)
        return items
