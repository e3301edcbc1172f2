"""The Redis servers: the primary, its replica that may take over, and those who still talk to the one that was replaced.

Replication is asynchronous (reference: Redis `replication`): what the old primary acknowledged after the replica last heard
from it is lost. Where both live for a while, each takes writes from whoever has not noticed yet; what the old one took in
then is lost as well, though those who read from it have heard it.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from mesolite.transport.memory_broker import MemoryBroker, MemoryStream, parse_entry_id

from .clocks import SkewedClock

#: What a replica does not take over from its primary: it is a server of its own.
_OWN: Final = frozenset({"clock", "available", "lock", "_changed", "_waiting"})
_BEFORE_ALL: Final = (0, 0)
_WITHOUT_LIMIT: Final = 1 << 40


class Server:
    """One Redis."""

    def __init__(self, number: int, broker: MemoryBroker, clock: SkewedClock) -> None:
        self.number: Final = number
        self.broker: Final = broker
        self.clock: Final = clock
        #: It answers, but takes no writes: it knows that it has too few replicas (`min-replicas-max-lag`).
        self.refuses_writes = False
        #: Nobody replicates what it takes in: WAIT counts no replica.
        self.alone = False

    def refuse_writes(self) -> None:
        """Notice that it is alone."""
        self.refuses_writes = True


class Servers:
    """All that there are.

    Args:
        new_clock: Makes the clock of one more server.
    """

    def __init__(self, new_clock: Callable[[], SkewedClock]) -> None:
        self._new_clock: Final = new_clock
        self._count = 0
        self.primary = self._new()
        #: Those that were replaced and still answer somebody.
        self.replaced: list[Server] = []

    @property
    def living(self) -> tuple[Server, ...]:
        """Everybody who may answer, the primary first."""
        return (self.primary, *self.replaced)

    def replica(self) -> Server:
        """Return one that holds what the primary holds now. From now on the primary is alone."""
        self.primary.alone = True
        replica = self._new()
        _copy(self.primary.broker, replica.broker)
        return replica

    def promote(self, replica: Server) -> Server:
        """Let a replica be the primary; returns the one that it replaces, which goes on until `end`."""
        old, self.primary = self.primary, replica
        self.replaced.append(old)
        return old

    def _new(self) -> Server:
        clock = self._new_clock()
        self._count += 1
        return Server(self._count, MemoryBroker(clock), clock)

    def end(self, server: Server) -> None:
        """Let a replaced one answer nobody any more."""
        server.broker.available = False
        if server in self.replaced:
            self.replaced.remove(server)


def _copy(broker: MemoryBroker, copy: MemoryBroker) -> None:
    """Copy what a broker holds, whatever that is: all of it is immutable but streams, queues and the tables of them."""
    for name, value in vars(broker).items():
        if name in _OWN:
            continue
        if name == "streams":
            copy.streams = {stream: _copy_of_stream(entries) for stream, entries in broker.streams.items()}
        elif name == "queues":
            copy.queues = {queue: deque(messages) for queue, messages in broker.queues.items()}
        else:
            setattr(copy, name, dict(value) if isinstance(value, dict) else value)  # pyright: ignore[reportUnknownArgumentType]


def _copy_of_stream(stream: MemoryStream) -> MemoryStream:
    copy = MemoryStream()
    for entry in stream.after(_BEFORE_ALL, _WITHOUT_LIMIT):
        copy.append(parse_entry_id(entry.entry_id), entry, _WITHOUT_LIMIT)
    return copy
