"""Where everything that happens to an agent waits for its core: filled by any thread, emptied by one."""

import queue
from dataclasses import dataclass
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


Item: TypeAlias = (
    ContainerEvent | LinkEvent | CommandBatch | Undecodable | BrokerReturned | TaskEndRequested | ShutdownRequested
)


class Inbox:
    """A queue that is never full for those who must not block; who can wait asks `crowded` first."""

    def __init__(self, crowded_at: int) -> None:
        """Start empty.

        Args:
            crowded_at: From so many waiting items on, commands are left where they are. The news of containers keeps
                coming, but never more than a few for each task.
        """
        self._items: Final[queue.SimpleQueue[Item]] = queue.SimpleQueue()
        self._crowded_at: Final = crowded_at

    @property
    def crowded(self) -> bool:
        """More should not be put in now."""
        return self._items.qsize() >= self._crowded_at

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return self._items.qsize()

    def put(self, item: Item) -> None:
        """Add an item; from any thread, never blocks."""
        self._items.put(item)

    def take(self, limit: int, wait_ms: int) -> list[Item]:
        """Return up to `limit` items in their order, waiting at most `wait_ms` for the first."""
        items: list[Item] = []
        try:
            items.append(self._items.get(block=wait_ms > 0, timeout=wait_ms / 1000 if wait_ms > 0 else None))
            while len(items) < limit:
                items.append(self._items.get_nowait())
        except queue.Empty:
            pass
        return items
