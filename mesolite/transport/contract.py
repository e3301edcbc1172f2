"""What a transport gives a shell: two protocols, each with a real and a memory implementation bound by one test suite.

`Store` is Redis: append-only streams that are read without side effect, and one fenced commit. `CommandBus` is kombu: one
queue per agent, read without acknowledgement, because confirmation is end to end (DESIGN 5, 6). Payloads are opaque bytes
here; what they mean is `mesolite.protocol`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

#: Where reading starts in a stream nobody has read: before its first entry.
BEGINNING = "0-0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a stream."""

    #: The stream's key, without the cluster's prefix: "calls:default".
    stream: str
    #: Redis's entry id, "milliseconds-sequence": grows within a stream.
    entry_id: str
    #: The sender's bytes.
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Bytes to append to a stream, which is trimmed (approximately) to its newest `max_length` entries."""

    stream: str
    payload: bytes
    max_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """All that one batch of inputs changed: applied in one step, or not at all.

    Refused unless `epoch` is the stored epoch and, for every stream in `cursor_from`, the stored cursor equals it (a
    stream without a stored cursor stands at BEGINNING).
    """

    epoch: int
    #: The cursor as this master believes it to be stored, per input stream.
    cursor_from: Mapping[str, str]
    #: The cursor after this batch. Input streams are trimmed behind it.
    cursor_to: Mapping[str, str]
    #: Registry fields to set, or to delete where the value is None.
    registry: Mapping[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    #: Events for frameworks, dead letters: in this order.
    appends: Sequence[Append] = ()
    #: Whole streams to delete, and what frameworks keep (`claim_state`): of those that ended.
    delete_streams: Sequence[str] = ()

    def moved(self) -> dict[str, str]:
        """Return the cursor's part that changes: of several streams mostly one brought something."""
        return {name: entry_id for name, entry_id in self.cursor_to.items() if self.cursor_from.get(name) != entry_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who leads: what stands under the key `lease` for as long as its holder renews it."""

    #: One life of one master, unique: letters and digits.
    holder: str
    #: Where its operator API answers, as others reach it: "http://10.0.0.5:5050". No spaces.
    address: str
    #: The epoch that it leads in.
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseState:
    """The lease as the store had it at one moment."""

    #: None: nobody leads.
    lease: Lease | None
    #: How long it is valid by the store's clock if it is not renewed; 0 where nobody leads.
    left_ms: int


class Store(Protocol):
    """Streams, registry, lease, epoch and cursor of one cluster. One instance is used from one thread.

    Every method raises `RedisUnavailable` when the store does not answer; the caller backs off and tries again. A write
    that raised may still have happened.
    """

    def append(self, stream: str, payload: bytes, *, max_length: int) -> str:
        """Append one entry and return its id (XADD)."""
        ...

    def append_many(self, appends: Sequence[Append]) -> None:
        """Append several entries, in order, in one round trip."""
        ...

    def read(self, after: Mapping[str, str], *, limit: int, wait_ms: int) -> list[Entry]:
        """Return up to `limit` entries per stream beyond the given ids, oldest first (XREAD).

        Waits at most `wait_ms` for the first one; 0 returns at once. Streams that do not exist are empty. Reading changes
        nothing.
        """
        ...

    def last_id(self, stream: str) -> str:
        """Return the id of the newest entry, or BEGINNING where the stream is empty or absent."""
        ...

    def length(self, stream: str) -> int:
        """Return the number of entries in a stream."""
        ...

    def streams(self, prefix: str) -> list[str]:
        """Return the names of the existing streams that start with `prefix`, sorted (SCAN, never KEYS)."""
        ...

    def delete_stream(self, stream: str) -> None:
        """Delete a stream; it need not exist."""
        ...

    def claim_lease(self, *, holder: str, address: str, ttl_ms: int, at_least: int = 1) -> LeaseState:
        """Take the lease, where nobody has it or `holder` itself, together with a new epoch.

        The epoch is the stored one plus one, and at least `at_least`: what it would be without a store that remembers it. A
        store that lost everything must not begin again with epochs that agents refuse as old.

        Where a store has replicas, claims and renewals return only once so many of them as the address asks for have it too
        (WAIT): a failover then does not forget who leads.

        Returns:
            The lease as it is now: the caller's, or another's.
        """
        ...

    def renew_lease(self, lease: Lease, *, ttl_ms: int) -> LeaseState:
        """Prolong a lease that the caller holds.

        Also one that ran out, or that a failover forgot, as long as nobody took it meanwhile: the stored epoch is still its
        own. Otherwise nothing changes.

        Returns:
            The lease as it is now: the caller's, another's, or nobody's.
        """
        ...

    def release_lease(self, lease: Lease) -> None:
        """Give up a lease that the caller holds, so that another may lead at once; another's is left alone."""
        ...

    def lease(self) -> LeaseState:
        """Return the lease as it is now."""
        ...

    def epoch(self) -> int:
        """Return the stored epoch, 0 before the first master."""
        ...

    def cursor(self) -> dict[str, str]:
        """Return the committed cursor of every input stream."""
        ...

    def registry(self) -> dict[str, bytes]:
        """Return the whole registry."""
        ...

    def commit(self, commit: Commit) -> None:
        """Apply a commit in one atomic step.

        Raises:
            CommitRefused: The epoch or the cursor is not what is stored; nothing was changed.
        """
        ...

    def put(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> None:
        """Set a plain key (leader address and the like); it expires after `ttl_ms`."""
        ...

    def get(self, key: str) -> bytes | None:
        """Return a plain key's value."""
        ...

    def claim_state(self, key: str, *, at_least: int) -> tuple[int, dict[str, bytes]]:
        """Take over named values from whoever claimed them before, and has no say any more.

        Args:
            key: Where they are: `keys.framework_state`. There need not be any.
            at_least: The generation is the stored one plus one, and at least this: what it would be without a store that
                remembers.

        Returns:
            The generation of this claim, and all values by name.
        """
        ...

    def change_state(self, key: str, generation: int, changes: Mapping[str, bytes | None]) -> bool:
        """Set values, or delete them where None, in one step; unless somebody has made a later claim.

        Returns:
            Whether it was done: False where a higher generation is stored.
        """
        ...

    def close(self) -> None:
        """Release connections. The store must not be used afterwards."""
        ...


class CommandBus(Protocol):
    """Queues named by whoever reads them: `mesolite.agent.<id>`. Order within one queue is the order of sending."""

    def send(self, queue: str, payload: bytes) -> None:
        """Put one message into a queue through the anonymous exchange; the queue need not have a reader yet.

        Raises:
            Unavailable: The broker does not answer. The message may still have been sent.
        """
        ...

    def send_many(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Put messages into queues, each given as (queue, payload), in this order and in as few round trips as can be.

        Raises:
            Unavailable: The broker does not answer. Which of them were sent is not known: none, all, or some.
        """
        ...

    def receive(self, queue: str, *, limit: int, wait_ms: int) -> list[bytes]:
        """Take up to `limit` messages out of a queue, waiting at most `wait_ms` for the first.

        A message taken is gone from the queue at once (`no_ack`).
        """
        ...

    def delete(self, queue: str) -> None:
        """Delete a queue and what is in it."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...
