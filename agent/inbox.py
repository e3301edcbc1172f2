"""Where everything that happens to an agent waits for its core: filled by any thread, emptied by one."""

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from mesolite.protocol import CommandBatch

from .containerizer.contract import ContainerEvent
from .events import ShutdownRequested, TaskEndRequested
from .executor_links.contract import LinkEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """A message out of the agent's queue that nobody can read."""

    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerReturned:
    """Commands can be read again after they could not. Redis may have failed over, and forgotten reports that it had taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Another thread did a pass, and whoever waits is to look what came of the agent."""


Item: TypeAlias = (
    ContainerEvent
    | LinkEvent
    | CommandBatch
    | Undecodable
    | BrokerReturned
    | TaskEndRequested
    | ShutdownRequested
    | Looked
)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Items whose bringer wants to know when they are taken."""

    items: Sequence[Item]
    taken: threading.Event = field(default_factory=threading.Event)


class Inbox:
    """A queue that is never full for those who must not block; who can wait uses `hand_over`."""

    def __init__(self) -> None:
        self._items: Final[queue.SimpleQueue[Item | HandedOver]] = queue.SimpleQueue()

    @property
    def waiting(self) -> int:
        """How many items wait; those that were handed over together count as one."""
        return self._items.qsize()

    def put(self, item: Item) -> None:
        """Add an item; from any thread, never blocks."""
        self._items.put(item)

    def hand_over(self, items: Sequence[Item]) -> threading.Event:
        """Add items; what is returned is set once they are taken. Who waits for it has no more than these in the inbox."""
        handed_over = HandedOver(items)
        self._items.put(handed_over)
        return handed_over.taken

    def take(self, limit: int, wait_ms: int) -> list[Item]:
        """Return the oldest items in their order, waiting at most `wait_ms` for the first.

        Args:
            limit: As many; what was handed over together comes together.
            wait_ms: 0 does not wait.
        """
        items: list[Item] = []
        try:
            self._add(self._items.get(block=wait_ms > 0, timeout=wait_ms / 1000 if wait_ms > 0 else None), items)
            while len(items) < limit:
                self._add(self._items.get_nowait(), items)
        except queue.Empty:
            pass
        return items

    def _add(self, item: Item | HandedOver, items: list[Item]) -> None:
        if isinstance(item, HandedOver):
            items += item.items
            item.taken.set()
        else:
            items.append(item)
