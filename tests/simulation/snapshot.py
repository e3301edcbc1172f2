"""What a Redis held at some moment, to go back to: the replica that takes over had got no further."""

from collections import deque
from copy import deepcopy
from typing import Final

from mesolite.transport.memory_broker import MemoryBroker


class Snapshot:
    """One broker's streams, registry, epoch, cursor, keys and queues."""

    def __init__(self, broker: MemoryBroker) -> None:
        """Keep what is there now."""
        self._broker: Final = broker
        self._streams = deepcopy(broker.streams)
        self._registry = dict(broker.registry)
        self._cursor = dict(broker.cursor)
        self._epoch = broker.epoch
        self._values = dict(broker.values)
        self._queues = {name: deque(messages) for name, messages in broker.queues.items()}

    def restore(self) -> None:
        """Go back; once."""
        broker = self._broker
        broker.streams.clear()
        broker.streams.update(self._streams)
        broker.registry = self._registry
        broker.cursor = self._cursor
        broker.epoch = self._epoch
        broker.values = self._values
        broker.queues.clear()
        broker.queues.update(self._queues)
