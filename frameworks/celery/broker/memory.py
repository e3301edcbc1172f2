"""A broker in memory that answers for one owner's messages as Redis does: for tests, and to read what the scripts mean."""

from collections.abc import Sequence

from .records import pack_record, unpack_record
from .requests import MAX_ASIDE, Busy, Fenced, Guard, Held, Life, OwnerStore, Take, Taken, Writes

#: How deep a message is looked for that a failover put back, from the end that is taken from.
RESTORE_DEPTH = 1_000


class MemoryBroker:
    """What is in the broker, and a clock that tests turn."""

    def __init__(self) -> None:
        #: Queues by key; the last is the next to be taken, as in Redis.
        self.queues: dict[str, list[bytes]] = {}
        self.owned: dict[str, bytes] = {}
        self.states: dict[str, str] = {}
        #: Newest first.
        self.aside: list[bytes] = []
        self.guard: Guard | None = None
        self.lease: Life | None = None
        self.lease_until_ms = 0
        self.now_ms = 0

    def push(self, key: str, message: bytes) -> None:
        """As a producer does it."""
        self.queues.setdefault(key, []).insert(0, message)


class MemoryStore(OwnerStore):
    """An `OwnerStore` on a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def claim(self, salt: str, lease_ms: int) -> Life | Busy:
        """See `OwnerStore`."""
        broker = self._broker
        if broker.lease is not None and broker.lease_until_ms > broker.now_ms:
            return Busy(broker.lease_until_ms - broker.now_ms)
        life = Life(1 if broker.guard is None else broker.guard.life.number + 1, salt)
        broker.guard = Guard(life, 0)
        self._lease(life, lease_ms)
        return life

    def enter(self, guard: Guard, lease_ms: int) -> bool:
        """See `OwnerStore`."""
        stored = self._broker.guard
        if stored is not None and stored.life != guard.life and stored.life.number >= guard.life.number:
            return False
        self._broker.guard = guard
        self._lease(guard.life, lease_ms)
        return True

    def renew(self, guard: Guard, lease_ms: int) -> bool:
        """See `OwnerStore`."""
        stored = self._broker.guard
        if stored is None or stored.life != guard.life:
            return False
        self._lease(guard.life, lease_ms)
        return True

    def leave(self, guard: Guard) -> None:
        """See `OwnerStore`."""
        if self.renew(guard, 1):
            self._broker.lease = None

    def take(self, guard: Guard, take: Take) -> Taken:
        """See `OwnerStore`."""
        self._check(guard)
        items: list[tuple[str, str, bytes]] = []
        order, room = list(range(len(take.keys[0]))), take.max_bytes
        for keys in take.keys:
            waiting = list(order)
            while waiting:
                if len(items) == take.count or room <= 0:
                    return Taken(items, False)
                number = waiting[0]
                queue = self._broker.queues.get(keys[number])
                if not queue:
                    del waiting[0]
                    continue
                message = queue.pop()
                item_id = f"{take.prefix}.{len(items)}"
                self._broker.owned[item_id] = pack_record(keys[number], message)
                items.append((item_id, keys[number], message))
                room -= len(message)
                if take.rotating:
                    for numbers in (waiting, order):
                        numbers.remove(number)
                        numbers.append(number)
        return Taken(items, True)

    def write(self, guard: Guard, writes: Writes) -> None:
        """See `OwnerStore`."""
        self._check(guard)
        for item_id in writes.ended:
            self._forget(item_id)
        for item_id, state in writes.states:
            self._broker.states.pop(item_id, None)
            if state:
                self._broker.states[item_id] = state
        for item_id, key, first, message in writes.going:
            if self._forget(item_id):
                queue = self._broker.queues.setdefault(key, [])
                queue.insert(len(queue) if first else 0, message)
        for item_id, entry in writes.aside:
            if self._forget(item_id):
                self._broker.aside.insert(0, entry)
        del self._broker.aside[MAX_ASIDE:]

    def ids(self) -> set[str]:
        """See `OwnerStore`."""
        return set(self._broker.owned)

    def held(self, item_ids: Sequence[str]) -> list[Held]:
        """See `OwnerStore`."""
        found = [(item_id, self._broker.owned.get(item_id)) for item_id in item_ids]
        return [
            Held(item_id, *unpack_record(record), self._broker.states.get(item_id, ""))
            for item_id, record in found
            if record is not None
        ]

    def restore(self, guard: Guard, held: Sequence[Held]) -> None:
        """See `OwnerStore`."""
        self._check(guard)
        for item_id, key, message, state in held:
            if item_id not in self._broker.owned:
                queue = self._broker.queues.get(key, [])
                for at in range(len(queue) - 1, max(-1, len(queue) - 1 - RESTORE_DEPTH), -1):
                    if queue[at] == message:
                        del queue[at]
                        break
                self._broker.owned[item_id] = pack_record(key, message)
            if state:
                self._broker.states[item_id] = state

    def _check(self, guard: Guard) -> None:
        if self._broker.guard != guard:
            raise Fenced

    def _lease(self, life: Life, lease_ms: int) -> None:
        self._broker.lease = life
        self._broker.lease_until_ms = self._broker.now_ms + lease_ms

    def _forget(self, item_id: str) -> bool:
        self._broker.states.pop(item_id, None)
        return self._broker.owned.pop(item_id, None) is not None
