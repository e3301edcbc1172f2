"""What connects each process to Redis and kombu: handles on one memory broker, with everything that goes wrong on the way.

Writes may raise before they happen, after they happened, or long before they happen, which is what a timeout looks like from
outside; each is what `Store` and `CommandBus` promise. A message of kombu may also vanish or come twice or late without a word.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from mesolite.errors import CommitRefused, RedisUnavailable
from mesolite.transport.contract import Append, Commit, Entry
from mesolite.transport.keys import DEAD_LETTERS
from mesolite.transport.memory import MemoryBus, MemoryStore
from mesolite.transport.memory_broker import MemoryBroker

from .fuse import Fuse
from .journal import Journal
from .plan import Chances

#: How late a late thing may be.
LATEST_MS: Final = 5000
#: How late a write may still happen whose sender has given up waiting.
LATEST_WRITE_MS: Final = 2000


class Surroundings(Protocol):
    """What wires need of the simulated world."""

    @property
    def broker(self) -> MemoryBroker:
        """The one server."""
        ...

    @property
    def chances(self) -> Chances:
        """How likely what is now."""
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
    """One process's connection: its faults hit the store and the bus alike."""

    def __init__(self, world: Surroundings, who: str, fuse: Fuse) -> None:
        self._world: Final = world
        self.who: Final = who
        self._fuse: Final = fuse
        #: Nothing gets through.
        self.cut_off = False
        #: Writes on their way whose sender has given up waiting.
        self._on_the_way: list[Callable[[], None]] = []
        self.store: Final = WiredStore(self, world)
        self.bus: Final = WiredBus(self, world)

    def drop(self) -> None:
        """The process is dead: what it has on the way is lost, or arrives before anything that its next life does."""
        for write in list(self._on_the_way):
            if self._world.rng.random() < 0.5:
                write()
        self._on_the_way.clear()

    def read(self) -> None:
        """Go through with a read, or raise."""
        self._fuse.burn()
        self._reach("read")
        if self._world.rng.random() < self._world.chances.read_failed:
            self._fail("read failed")

    def write(self, what: str, do: Callable[[], None]) -> None:
        """Go through with a write, or raise, and perhaps do it nevertheless."""
        world = self._world
        self._fuse.burn()
        self._reach(what)
        dice, chances = world.rng.random(), world.chances
        if dice < chances.write_lost:
            self._fail(f"{what}: lost")
        dice -= chances.write_lost
        if dice < chances.write_late:
            self._send_later(what, do)
            self._fail(f"{what}: late")
        dice -= chances.write_late
        do()
        if dice < chances.write_unanswered:
            self._fail(f"{what}: unanswered")
        self._fuse.burn()

    def wrote(self, appends: Sequence[Append]) -> None:
        """Trace what was appended, and wake its readers."""
        for each in appends:
            self._world.note(self.who, f"to {each.stream}", each.payload if each.stream != DEAD_LETTERS else b"")
            self._world.written(each.stream)

    def _send_later(self, what: str, do: Callable[[], None]) -> None:
        def arrive() -> None:
            if arrive in self._on_the_way:
                self._on_the_way.remove(arrive)
                self._arrive(what, do)

        self._on_the_way.append(arrive)
        self._world.later(self._world.rng.randint(1, LATEST_WRITE_MS), arrive)

    def _arrive(self, what: str, do: Callable[[], None]) -> None:
        if not self._world.broker.available:
            return
        self._world.note(self.who, f"{what}: arrives late")
        try:
            do()
        except CommitRefused:
            self._world.note(self.who, f"{what}: refused, and nobody hears it")

    def _reach(self, what: str) -> None:
        if self.cut_off or not self._world.broker.available:
            raise RedisUnavailable(f"{what}: nothing answers")

    def _fail(self, what: str) -> None:
        self._world.note(self.who, what)
        raise RedisUnavailable(what)


class WiredStore:
    """A `Store` at the end of a wire."""

    def __init__(self, wire: Wire, world: Surroundings) -> None:
        self._wire: Final = wire
        self._world: Final = world
        self._store: Final = MemoryStore(world.broker)

    def append(self, stream: str, payload: bytes, *, max_length: int) -> str:
        """See `Store`."""
        self.append_many((Append(stream=stream, payload=payload, max_length=max_length),))
        return self._store.last_id(stream)

    def append_many(self, appends: Sequence[Append]) -> None:
        """See `Store`."""

        def do() -> None:
            self._store.append_many(appends)
            self._wire.wrote(appends)

        self._wire.write(f"append to {appends[0].stream}" if appends else "append", do)

    def read(self, after: Mapping[str, str], *, limit: int, wait_ms: int) -> list[Entry]:
        """See `Store`."""
        assert wait_ms == 0, "in one thread nobody may wait"
        self._wire.read()
        return self._store.read(after, limit=limit, wait_ms=0)

    def last_id(self, stream: str) -> str:
        """See `Store`."""
        self._wire.read()
        return self._store.last_id(stream)

    def length(self, stream: str) -> int:
        """See `Store`."""
        self._wire.read()
        return self._store.length(stream)

    def streams(self, prefix: str) -> list[str]:
        """See `Store`."""
        self._wire.read()
        return self._store.streams(prefix)

    def delete_stream(self, stream: str) -> None:
        """See `Store`."""
        self._wire.write(f"delete {stream}", lambda: self._store.delete_stream(stream))

    def take_epoch(self, *, at_least: int = 1) -> int:
        """See `Store`."""
        epochs = self._world.journal.epochs
        self._wire.write("take epoch", lambda: epochs.append(self._store.take_epoch(at_least=at_least)))
        return epochs[-1]

    def epoch(self) -> int:
        """See `Store`."""
        self._wire.read()
        return self._store.epoch()

    def cursor(self) -> dict[str, str]:
        """See `Store`."""
        self._wire.read()
        return self._store.cursor()

    def registry(self) -> dict[str, bytes]:
        """See `Store`."""
        self._wire.read()
        return self._store.registry()

    def commit(self, commit: Commit) -> None:
        """See `Store`."""

        def do() -> None:
            self._store.commit(commit)
            self._wire.wrote(commit.appends)

        self._wire.write("commit", do)

    def put(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> None:
        """See `Store`."""
        self._wire.write(f"put {key}", lambda: self._store.put(key, value, ttl_ms=ttl_ms))

    def get(self, key: str) -> bytes | None:
        """See `Store`."""
        self._wire.read()
        return self._store.get(key)

    def close(self) -> None:
        """See `Store`."""


class WiredBus:
    """A `CommandBus` at the end of a wire."""

    def __init__(self, wire: Wire, world: Surroundings) -> None:
        self._wire: Final = wire
        self._world: Final = world
        self._bus: Final = MemoryBus(world.broker)

    def send(self, queue: str, payload: bytes) -> None:
        """See `CommandBus`."""
        rng, chances = self._world.rng, self._world.chances

        def put() -> None:
            self._bus.send(queue, payload)
            self._world.note(self._wire.who, f"to {queue}", payload)
            self._world.written(queue)

        def do() -> None:
            if rng.random() < chances.command_lost:
                self._world.note("kombu", f"{queue}: lost", payload)
                return
            copies = 2 if rng.random() < chances.command_twice else 1
            for _ in range(copies):
                if rng.random() < chances.command_late:
                    self._world.later(rng.randint(1, LATEST_MS), arrive)
                else:
                    put()

        def arrive() -> None:
            if self._world.broker.available:
                self._world.note("kombu", f"{queue}: arrives late")
                put()

        self._wire.write(f"send to {queue}", do)

    def receive(self, queue: str, *, limit: int, wait_ms: int) -> list[bytes]:
        """See `CommandBus`. Who dies after it has taken the messages with it."""
        assert wait_ms == 0, "in one thread nobody may wait"
        self._wire.read()
        return self._bus.receive(queue, limit=limit, wait_ms=0)

    def delete(self, queue: str) -> None:
        """See `CommandBus`."""
        self._wire.write(f"delete {queue}", lambda: self._bus.delete(queue))

    def close(self) -> None:
        """See `CommandBus`."""
