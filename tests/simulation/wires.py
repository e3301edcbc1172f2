"""What connects each process to Redis and kombu: handles on memory brokers, with everything that goes wrong on the way.

Writes may raise before they happen, after they happened, or long before they happen, which is what a timeout looks like from
outside; each is what `Store` and `CommandBus` promise. A message of kombu may also vanish or come twice or late without a word.
A wire may be cut in some ways and not in others, and it may lead to a server that was replaced.
"""

import enum
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from mesolite.errors import CommitRefused, RedisUnavailable
from mesolite.transport.contract import Append, Commit, Entry, Lease, LeaseState
from mesolite.transport.keys import DEAD_LETTERS
from mesolite.transport.memory import MemoryBus, MemoryStore

from .fuse import Fuse
from .journal import Journal
from .plan import Chances
from .servers import Server, Servers

#: How late a late thing may be.
LATEST_MS: Final = 5000
#: How late a write may still happen whose sender has given up waiting.
LATEST_WRITE_MS: Final = 2000


class Way(enum.Enum):
    """What may be cut by itself."""

    READ = "reads of the store"
    WRITE = "writes to the store"
    TAKE = "messages from kombu"
    SEND = "messages to kombu"
    #: What is asked is done, and nobody hears of it.
    ANSWER = "answers"


#: What a cut cuts, as it is drawn: often everything.
CUTS: Final[tuple[frozenset[Way], ...]] = (
    *(frozenset(Way),) * 4,
    frozenset({Way.READ}),
    frozenset({Way.WRITE}),
    frozenset({Way.READ, Way.WRITE}),
    frozenset({Way.TAKE, Way.SEND}),
    frozenset({Way.WRITE, Way.SEND}),
    frozenset({Way.READ, Way.TAKE}),
    frozenset({Way.ANSWER}),
)


class Surroundings(Protocol):
    """What wires need of the simulated world."""

    @property
    def servers(self) -> Servers:
        """Where wires lead."""
        ...

    @property
    def chances(self) -> Chances:
        """How likely what is now."""
        ...

    @property
    def waits_for_replicas(self) -> bool:
        """Whether claims and renewals of the lease use WAIT."""
        ...

    @property
    def journal(self) -> Journal:
        """Where facts are written down."""
        ...

    @property
    def rng(self) -> random.Random:
        """The one source of chance."""
        ...

    def note(self, who: str, what: str, payload: bytes = b"") -> None:
        """Add a line to the trace, with a message where it is about one."""
        ...

    def later(self, delay_ms: int, do: Callable[[], None]) -> None:
        """Do something after a while."""
        ...

    def written(self, name: str) -> None:
        """Let the reader of a stream or queue know, after some time."""
        ...


class Wire:
    """One process's connections: their faults hit the store and the bus alike, but each may lead to another server."""

    def __init__(self, world: Surroundings, who: str, fuse: Fuse) -> None:
        self._world: Final = world
        self.who: Final = who
        self._fuse: Final = fuse
        #: What is cut: each cut is mended by itself.
        self.cuts: Final[list[frozenset[Way]]] = []
        #: The server behind the store, and the one behind the bus.
        self.store_server = self.bus_server = world.servers.primary
        #: Writes on their way whose sender has given up waiting.
        self._on_the_way: list[Callable[[], None]] = []
        self.store: Final = WiredStore(self, world)
        self.bus: Final = WiredBus(self, world)

    def connect(self) -> None:
        """Ask a Sentinel for the primary, and talk to it from now on."""
        self.store_server = self.bus_server = self._world.servers.primary

    def leave_store(self, server: Server) -> None:
        """Talk to the primary about streams, where this server was talked to."""
        if self.store_server is server:
            self.store_server = self._world.servers.primary

    def leave_bus(self, server: Server) -> None:
        """Talk to the primary about messages, where this server was talked to."""
        if self.bus_server is server:
            self.bus_server = self._world.servers.primary

    def drop(self) -> None:
        """The process is dead: what it has on the way is lost, or arrives before anything that its next life does."""
        for write in list(self._on_the_way):
            if self._world.rng.random() < 0.5:
                write()
        self._on_the_way.clear()
        self.connect()

    def read(self, way: Way) -> None:
        """Go through with a read, or raise."""
        self._fuse.burn()
        self._reach(way, way.value)
        if self._world.rng.random() < self._world.chances.read_failed:
            self._fail("read failed")

    def write(self, way: Way, what: str, do: Callable[[Server], None]) -> None:
        """Go through with a write to whatever server is reached, or raise, and perhaps do it nevertheless."""
        world = self._world
        self._fuse.burn()
        server = self._reach(way, what)
        dice, chances = world.rng.random(), world.chances
        if dice < chances.write_lost:
            self._fail(f"{what}: lost")
        dice -= chances.write_lost
        if dice < chances.write_late:
            self._send_later(server, what, do)
            self._fail(f"{what}: late")
        dice -= chances.write_late
        do(server)
        if dice < chances.write_unanswered or self._is_cut(Way.ANSWER):
            self._fail(f"{what}: unanswered")
        self._fuse.burn()

    def wrote(self, appends: Sequence[Append]) -> None:
        """Trace what was appended, and wake its readers."""
        for each in appends:
            self._world.note(self.who, f"to {each.stream}", each.payload if each.stream != DEAD_LETTERS else b"")
            self._world.written(each.stream)

    def replicated(self, what: str) -> None:
        """Raise where this is waited for, and the server has no replica that hears it."""
        if self._world.waits_for_replicas and self.store_server.alone:
            self._fail(f"{what}: no replica has it")

    def _send_later(self, server: Server, what: str, do: Callable[[Server], None]) -> None:
        def arrive() -> None:
            if arrive in self._on_the_way:
                self._on_the_way.remove(arrive)
                self._arrive(server, what, do)

        self._on_the_way.append(arrive)
        self._world.later(self._world.rng.randint(1, LATEST_WRITE_MS), arrive)

    def _arrive(self, server: Server, what: str, do: Callable[[Server], None]) -> None:
        if not server.broker.available or server.refuses_writes:
            return
        self._world.note(self.who, f"{what}: arrives late")
        try:
            do(server)
        except CommitRefused:
            self._world.note(self.who, f"{what}: refused, and nobody hears it")

    def _reach(self, way: Way, what: str) -> Server:
        server = self.bus_server if way in (Way.TAKE, Way.SEND) else self.store_server
        if self._is_cut(way) or not server.broker.available:
            raise RedisUnavailable(f"{what}: nothing answers")
        if self._is_cut(Way.ANSWER) and way in (Way.READ, Way.TAKE):
            raise RedisUnavailable(f"{what}: the answer got lost")
        if server.refuses_writes and way is not Way.READ:
            raise RedisUnavailable(f"{what}: NOREPLICAS")
        return server

    def _is_cut(self, way: Way) -> bool:
        return any(way in cut for cut in self.cuts)

    def _fail(self, what: str) -> None:
        self._world.note(self.who, what)
        raise RedisUnavailable(what)


class WiredStore:
    """A `Store` at the end of a wire."""

    def __init__(self, wire: Wire, world: Surroundings) -> None:
        self._wire: Final = wire
        self._world: Final = world

    @property
    def _store(self) -> MemoryStore:
        return MemoryStore(self._wire.store_server.broker)

    def append(self, stream: str, payload: bytes, *, max_length: int) -> str:
        """See `Store`."""
        ids: list[str] = []
        append = Append(stream=stream, payload=payload, max_length=max_length)

        def do(server: Server) -> None:
            ids.append(MemoryStore(server.broker).append(stream, payload, max_length=max_length))
            self._wire.wrote((append,))

        self._wire.write(Way.WRITE, f"append to {stream}", do)
        return ids[-1]

    def append_many(self, appends: Sequence[Append]) -> None:
        """See `Store`."""

        def do(server: Server) -> None:
            MemoryStore(server.broker).append_many(appends)
            self._wire.wrote(appends)

        self._wire.write(Way.WRITE, f"append to {appends[0].stream}" if appends else "append", do)

    def read(self, after: Mapping[str, str], *, limit: int, wait_ms: int) -> list[Entry]:
        """See `Store`."""
        assert wait_ms == 0, "in one thread nobody may wait"
        self._wire.read(Way.READ)
        return self._store.read(after, limit=limit, wait_ms=0)

    def last_id(self, stream: str) -> str:
        """See `Store`."""
        self._wire.read(Way.READ)
        return self._store.last_id(stream)

    def length(self, stream: str) -> int:
        """See `Store`."""
        self._wire.read(Way.READ)
        return self._store.length(stream)

    def streams(self, prefix: str) -> list[str]:
        """See `Store`."""
        self._wire.read(Way.READ)
        return self._store.streams(prefix)

    def delete_stream(self, stream: str) -> None:
        """See `Store`."""
        self._wire.write(Way.WRITE, f"delete {stream}", lambda server: MemoryStore(server.broker).delete_stream(stream))

    def claim_lease(self, *, holder: str, address: str, ttl_ms: int, at_least: int = 1) -> LeaseState:
        """See `Store`."""
        states: list[LeaseState] = []

        def do(server: Server) -> None:
            store = MemoryStore(server.broker)
            states.append(store.claim_lease(holder=holder, address=address, ttl_ms=ttl_ms, at_least=at_least))

        self._wire.write(Way.WRITE, "claim", do)
        self._wire.replicated("claim")
        lease = states[-1].lease
        if lease is not None and lease.holder == holder:
            self._world.note(self._wire.who, f"claims epoch {lease.epoch}")
        return states[-1]

    def renew_lease(self, lease: Lease, *, ttl_ms: int) -> LeaseState:
        """See `Store`."""
        states: list[LeaseState] = []

        def do(server: Server) -> None:
            states.append(MemoryStore(server.broker).renew_lease(lease, ttl_ms=ttl_ms))

        self._wire.write(Way.WRITE, "renew", do)
        self._wire.replicated("renew")
        return states[-1]

    def claim_state(self, key: str, *, at_least: int) -> tuple[int, dict[str, bytes]]:
        """See `Store`."""
        claims: list[tuple[int, dict[str, bytes]]] = []

        def do(server: Server) -> None:
            claims.append(MemoryStore(server.broker).claim_state(key, at_least=at_least))

        self._wire.write(Way.WRITE, f"claim {key}", do)
        return claims[-1]

    def change_state(self, key: str, generation: int, changes: Mapping[str, bytes | None]) -> bool:
        """See `Store`."""
        done: list[bool] = []

        def do(server: Server) -> None:
            done.append(MemoryStore(server.broker).change_state(key, generation, changes))

        self._wire.write(Way.WRITE, f"change {key}", do)
        return done[-1]

    def release_lease(self, lease: Lease) -> None:
        """See `Store`."""
        self._wire.write(Way.WRITE, "release", lambda server: MemoryStore(server.broker).release_lease(lease))

    def lease(self) -> LeaseState:
        """See `Store`."""
        self._wire.read(Way.READ)
        return self._store.lease()

    def epoch(self) -> int:
        """See `Store`."""
        self._wire.read(Way.READ)
        return self._store.epoch()

    def cursor(self) -> dict[str, str]:
        """See `Store`."""
        self._wire.read(Way.READ)
        return self._store.cursor()

    def registry(self) -> dict[str, bytes]:
        """See `Store`."""
        self._wire.read(Way.READ)
        return self._store.registry()

    def commit(self, commit: Commit) -> None:
        """See `Store`."""

        def do(server: Server) -> None:
            MemoryStore(server.broker).commit(commit)
            self._wire.wrote(commit.appends)

        self._wire.write(Way.WRITE, "commit", do)

    def put(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> None:
        """See `Store`."""
        self._wire.write(
            Way.WRITE, f"put {key}", lambda server: MemoryStore(server.broker).put(key, value, ttl_ms=ttl_ms)
        )

    def get(self, key: str) -> bytes | None:
        """See `Store`."""
        self._wire.read(Way.READ)
        return self._store.get(key)

    def close(self) -> None:
        """See `Store`."""


class WiredBus:
    """A `CommandBus` at the end of a wire."""

    def __init__(self, wire: Wire, world: Surroundings) -> None:
        self._wire: Final = wire
        self._world: Final = world

    @property
    def _bus(self) -> MemoryBus:
        return MemoryBus(self._wire.bus_server.broker)

    def send(self, queue: str, payload: bytes) -> None:
        """See `CommandBus`."""
        self.send_many(((queue, payload),))

    def send_many(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """See `CommandBus`: one round trip, in which each message has its own fate."""

        def do(server: Server) -> None:
            for queue, payload in messages:
                self._deliver(server, queue, payload)

        self._wire.write(Way.SEND, f"send to {', '.join(queue for queue, _ in messages)}", do)

    def receive(self, queue: str, *, limit: int, wait_ms: int) -> list[bytes]:
        """See `CommandBus`. Who dies after it has taken the messages with it."""
        assert wait_ms == 0, "in one thread nobody may wait"
        self._wire.read(Way.TAKE)
        return self._bus.receive(queue, limit=limit, wait_ms=0)

    def delete(self, queue: str) -> None:
        """See `CommandBus`."""
        self._wire.write(Way.SEND, f"delete {queue}", lambda server: MemoryBus(server.broker).delete(queue))

    def close(self) -> None:
        """See `CommandBus`."""

    def _deliver(self, server: Server, queue: str, payload: bytes) -> None:
        rng, chances = self._world.rng, self._world.chances

        def put() -> None:
            MemoryBus(server.broker).send(queue, payload)
            self._world.note(self._wire.who, f"to {queue}", payload)
            self._world.written(queue)

        def arrive() -> None:
            if server.broker.available:
                self._world.note("kombu", f"{queue}: arrives late")
                put()

        if rng.random() < chances.command_lost:
            self._world.note("kombu", f"{queue}: lost", payload)
            return
        for _ in range(2 if rng.random() < chances.command_twice else 1):
            if rng.random() < chances.command_late:
                self._world.later(rng.randint(1, LATEST_MS), arrive)
            else:
                put()
