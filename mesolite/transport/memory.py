"""The transport without Redis: for tests, the simulator, and everything in one process.

A `MemoryBroker` is the server: it holds one cluster's streams, registry, epoch, keys and queues. `MemoryStore` and
`MemoryBus` are handles onto it, as many as there are masters, agents and frameworks. The suite in `tests/contract` holds
them to what Redis and kombu do. They differ in two ways, both stricter: a stream is trimmed to exactly its limit, and entry
ids never repeat, even where a stream is deleted and written again within one millisecond of a clock that stands still.

Threads may share a broker. A single-threaded simulator passes `wait_ms=0` and never blocks.
"""

from collections import deque
from collections.abc import Mapping, Sequence

from mesolite.errors import CommitRefused

from .contract import BEGINNING, Append, Commit, Entry, Lease, LeaseState
from .keys import OWNED_KEYS
from .memory_broker import MemoryBroker, parse_entry_id


class MemoryStore:
    """A `Store` onto a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def append(self, stream: str, payload: bytes, *, max_length: int) -> str:
        """See `Store`."""
        broker = self._broker
        with broker.lock:
            broker.check_available()
            entry_id = broker.append(stream, payload, max_length)
            broker.wake()
        return entry_id

    def append_many(self, appends: Sequence[Append]) -> None:
        """See `Store`."""
        broker = self._broker
        with broker.lock:
            broker.check_available()
            for item in appends:
                broker.append(item.stream, item.payload, item.max_length)
            broker.wake()

    def read(self, after: Mapping[str, str], *, limit: int, wait_ms: int) -> list[Entry]:
        """See `Store`."""
        positions = [(stream, parse_entry_id(entry_id)) for stream, entry_id in after.items()]
        streams = self._broker.streams

        def take() -> list[Entry]:
            found: list[Entry] = []
            for name, position in positions:
                stream = streams.get(name)
                if stream is not None:
                    found += stream.after(position, limit)
            return found

        return self._broker.wait_for(take, wait_ms)

    def last_id(self, stream: str) -> str:
        """See `Store`."""
        with self._broker.lock:
            self._broker.check_available()
            found = self._broker.streams.get(stream)
            return found.last_id() if found is not None else BEGINNING

    def length(self, stream: str) -> int:
        """See `Store`."""
        with self._broker.lock:
            self._broker.check_available()
            return len(self._broker.streams.get(stream, ()))

    def streams(self, prefix: str) -> list[str]:
        """See `Store`."""
        with self._broker.lock:
            self._broker.check_available()
            return sorted(name for name in self._broker.streams if name.startswith(prefix))

    def delete_stream(self, stream: str) -> None:
        """See `Store`."""
        with self._broker.lock:
            self._broker.check_available()
            self._broker.streams.pop(stream, None)

    def claim_lease(self, *, holder: str, address: str, ttl_ms: int, at_least: int = 1) -> LeaseState:
        """See `Store`."""
        broker = self._broker
        with broker.lock:
            broker.check_available()
            now = broker.lease_state()
            if now.lease is not None and now.lease.holder != holder:
                return now
            broker.epoch = max(broker.epoch + 1, at_least)
            lease = Lease(holder=holder, address=address, epoch=broker.epoch)
            broker.lease = lease, broker.clock.now_ms() + ttl_ms
            return LeaseState(lease=lease, left_ms=ttl_ms)

    def renew_lease(self, lease: Lease, *, ttl_ms: int) -> LeaseState:
        """See `Store`."""
        broker = self._broker
        with broker.lock:
            broker.check_available()
            now = broker.lease_state()
            if now.lease not in (None, lease) or broker.epoch != lease.epoch:
                return now
            broker.lease = lease, broker.clock.now_ms() + ttl_ms
            return LeaseState(lease=lease, left_ms=ttl_ms)

    def release_lease(self, lease: Lease) -> None:
        """See `Store`."""
        broker = self._broker
        with broker.lock:
            broker.check_available()
            if broker.lease_state().lease == lease:
                broker.lease = None

    def lease(self) -> LeaseState:
        """See `Store`."""
        with self._broker.lock:
            self._broker.check_available()
            return self._broker.lease_state()

    def epoch(self) -> int:
        """See `Store`."""
        with self._broker.lock:
            self._broker.check_available()
            return self._broker.epoch

    def cursor(self) -> dict[str, str]:
        """See `Store`."""
        with self._broker.lock:
            self._broker.check_available()
            return dict(self._broker.cursor)

    def registry(self) -> dict[str, bytes]:
        """See `Store`."""
        with self._broker.lock:
            self._broker.check_available()
            return dict(self._broker.registry)

    def commit(self, commit: Commit) -> None:
        """See `Store`."""
        broker = self._broker
        with broker.lock:
            broker.check_available()
            _check_fence(broker, commit)
            moved = commit.moved()
            broker.cursor.update(moved)
            for field, value in commit.registry.items():
                if value is None:
                    broker.registry.pop(field, None)
                else:
                    broker.registry[field] = value
            for item in commit.appends:
                broker.append(item.stream, item.payload, item.max_length)
            for name in commit.delete_streams:
                broker.streams.pop(name, None)
                broker.states.pop(name, None)
            for name, entry_id in moved.items():
                if name in broker.streams:
                    broker.streams[name].trim_before(parse_entry_id(entry_id))
            broker.wake()

    def put(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> None:
        """See `Store`."""
        assert key not in OWNED_KEYS, f"the key {key!r} belongs to the commit"
        broker = self._broker
        with broker.lock:
            broker.check_available()
            broker.values[key] = (value, None if ttl_ms is None else broker.clock.now_ms() + ttl_ms)

    def get(self, key: str) -> bytes | None:
        """See `Store`."""
        broker = self._broker
        with broker.lock:
            broker.check_available()
            found = broker.values.get(key)
            if found is None:
                return None
            value, expires_ms = found
            if expires_ms is not None and broker.clock.now_ms() >= expires_ms:
                del broker.values[key]
                return None
            return value

    def claim_state(self, key: str, *, at_least: int) -> tuple[int, dict[str, bytes]]:
        """See `Store`."""
        broker = self._broker
        with broker.lock:
            broker.check_available()
            generation, values = broker.states.get(key, (0, {}))
            generation = max(generation + 1, at_least)
            broker.states[key] = generation, values
            return generation, dict(values)

    def change_state(self, key: str, generation: int, changes: Mapping[str, bytes | None]) -> bool:
        """See `Store`."""
        broker = self._broker
        with broker.lock:
            broker.check_available()
            stored, values = broker.states.get(key, (0, {}))
            if stored > generation:
                return False
            kept = {**values, **changes}
            broker.states[key] = generation, {name: value for name, value in kept.items() if value is not None}
            return True

    def close(self) -> None:
        """See `Store`. The broker keeps what it holds."""


class MemoryBus:
    """A `CommandBus` onto a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def send(self, queue: str, payload: bytes) -> None:
        """See `CommandBus`."""
        self.send_many(((queue, payload),))

    def send_many(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """See `CommandBus`."""
        broker = self._broker
        with broker.lock:
            broker.check_available()
            for queue, payload in messages:
                waiting = broker.queues.get(queue)
                if waiting is None:
                    waiting = broker.queues[queue] = deque()
                waiting.append(payload)
            broker.wake()

    def receive(self, queue: str, *, limit: int, wait_ms: int) -> list[bytes]:
        """See `CommandBus`."""
        queues = self._broker.queues

        def take() -> list[bytes]:
            messages = queues.get(queue)
            if not messages:
                return []
            taken = [messages.popleft() for _ in range(min(limit, len(messages)))]
            if not messages:
                del queues[queue]
            return taken

        return self._broker.wait_for(take, wait_ms)

    def delete(self, queue: str) -> None:
        """See `CommandBus`."""
        with self._broker.lock:
            self._broker.check_available()
            self._broker.queues.pop(queue, None)

    def close(self) -> None:
        """See `CommandBus`. The broker keeps what it holds."""


def _check_fence(broker: MemoryBroker, commit: Commit) -> None:
    """Compare a commit with what is stored, as `commit.lua` does. The caller holds `lock`."""
    if commit.epoch != broker.epoch:
        raise CommitRefused(
            f"another master took the epoch: {broker.epoch} is stored, this commit is of {commit.epoch}"
        )
    for stream, expected in commit.cursor_from.items():
        stored = broker.cursor.get(stream, BEGINNING)
        if stored != expected:
            raise CommitRefused(f"the cursor of {stream} stands at {stored}, this commit begins at {expected}")
