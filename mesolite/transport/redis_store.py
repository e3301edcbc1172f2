"""A `Store` on a real Redis.

Each method is one command and one round trip, except a long wait, which is cut into turns. Nothing is repeated here: a
write that failed may have happened, and only its caller knows whether it may happen twice.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Final, cast

import msgspec
import redis
from redis.exceptions import NoScriptError

from mesolite.errors import CommitRefused, RedisUnavailable

from .address import confirming_replicas, shown
from .contract import BEGINNING, Append, Commit, Entry, Lease, LeaseState
from .keys import CURSOR, EPOCH, LEASE, OWNED_KEYS, REGISTRY, escape_glob, key_prefix
from .line import Argument, Line
from .redis_client import connect, patience, redis_errors

#: The one field of an entry. XADD wants a name; one letter is the shortest.
_FIELD: Final = "p"
_FIELD_BYTES: Final = _FIELD.encode()
#: How long a claim or renewal of the lease waits for replicas. They answer within a millisecond; one that does not is as good as
#: none, and the lease itself ends soon.
_WAIT_FOR_REPLICAS_MS: Final = 300
#: Keys looked at in one step of SCAN: few enough that other clients do not wait.
_SCAN_COUNT: Final = 1_000

_COMMIT_SCRIPT: Final = resources.files("mesolite.transport").joinpath("commit.lua").read_text(encoding="utf-8")
_COMMIT_SHA: Final = hashlib.sha1(_COMMIT_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_LEASE_SCRIPT: Final = resources.files("mesolite.transport").joinpath("lease.lua").read_text(encoding="utf-8")
_STATE_SCRIPT: Final = resources.files("mesolite.transport").joinpath("state.lua").read_text(encoding="utf-8")
#: Of a hash of named values, what holds its generation; names have a letter in front, so that none can be the same.
_GENERATION: Final = b"#"
_NAME: Final = "="

_encoder: Final = msgspec.msgpack.Encoder()

#: What XREAD and XREVRANGE answer of an entry.
_RawEntry = tuple[bytes, list[bytes] | None]


class RedisStore:
    """The streams, registry, epoch and cursor of one cluster, in Redis. One instance is used from one thread.

    Args:
        url: See `redis_client.connect`.
        cluster: The cluster's name, which begins every key.

    Raises:
        ConfigError: The address or the name cannot be used.
    """

    def __init__(self, url: str, cluster: str) -> None:
        self._prefix = key_prefix(cluster)
        self._address = shown(url)
        self._client: redis.Redis = connect(url)
        self._block_turn_ms: Final = patience(url).block_turn_ms
        #: How many must confirm a lease.
        self._replicas: Final = confirming_replicas(url)
        self._line: Final = Line(self._client)

    def append(self, stream: str, payload: bytes, *, max_length: int) -> str:
        """See `Store`."""
        with redis_errors(self._address):
            answer = self._command(*self._append_command(stream, payload, max_length))
        return cast("bytes", answer).decode()

    def append_many(self, appends: Sequence[Append]) -> None:
        """See `Store`."""
        if not appends:
            return
        commands = [self._append_command(item.stream, item.payload, item.max_length) for item in appends]
        with redis_errors(self._address):
            self._line.commands(commands)

    def read(self, after: Mapping[str, str], *, limit: int, wait_ms: int) -> list[Entry]:
        """See `Store`."""
        if not after:
            return []
        streams = [*(self._prefix + stream for stream in after), *after.values()]
        deadline = time.monotonic() + wait_ms / 1000
        while True:
            left_ms = int((deadline - time.monotonic()) * 1000)
            # BLOCK 0 would wait for ever.
            block = ("BLOCK", min(left_ms, self._block_turn_ms)) if left_ms > 0 else ()
            with redis_errors(self._address):
                answer = self._command("XREAD", "COUNT", limit, *block, "STREAMS", *streams)
            if answer or not block:
                return self._entries(answer)

    def last_id(self, stream: str) -> str:
        """See `Store`."""
        with redis_errors(self._address):
            answer = self._command("XREVRANGE", self._prefix + stream, "+", "-", "COUNT", 1)
        newest = cast("list[_RawEntry]", answer)
        return newest[0][0].decode() if newest else BEGINNING

    def length(self, stream: str) -> int:
        """See `Store`."""
        with redis_errors(self._address):
            return cast("int", self._command("XLEN", self._prefix + stream))

    def streams(self, prefix: str) -> list[str]:
        """See `Store`."""
        skipped = len(self._prefix.encode())
        pattern = escape_glob(self._prefix + prefix) + "*"
        with redis_errors(self._address):
            found = self._client.scan_iter(match=pattern, count=_SCAN_COUNT, _type="stream")
            return sorted({cast("bytes", key)[skipped:].decode() for key in found})

    def delete_stream(self, stream: str) -> None:
        """See `Store`."""
        with redis_errors(self._address):
            self._command("UNLINK", self._prefix + stream)

    def claim_lease(self, *, holder: str, address: str, ttl_ms: int, at_least: int = 1) -> LeaseState:
        """See `Store`."""
        return self._lease("claim", holder, address, ttl_ms, at_least, is_confirmed=True)

    def renew_lease(self, lease: Lease, *, ttl_ms: int) -> LeaseState:
        """See `Store`."""
        return self._lease("renew", _stored_lease(lease), lease.epoch, ttl_ms, is_confirmed=True)

    def release_lease(self, lease: Lease) -> None:
        """See `Store`."""
        self._lease("release", _stored_lease(lease))

    def lease(self) -> LeaseState:
        """See `Store`."""
        return self._lease("look")

    def epoch(self) -> int:
        """See `Store`."""
        with redis_errors(self._address):
            return int(cast("bytes | None", self._command("GET", self._prefix + EPOCH)) or 0)

    def cursor(self) -> dict[str, str]:
        """See `Store`."""
        return {stream: entry_id.decode() for stream, entry_id in self._hash(CURSOR).items()}

    def registry(self) -> dict[str, bytes]:
        """See `Store`."""
        return self._hash(REGISTRY)

    def commit(self, commit: Commit) -> None:
        """See `Store`."""
        keys, layout, pieces = _lay_out(self._prefix, commit)
        with redis_errors(self._address):
            answer = cast("list[bytes]", self._run_commit_script(len(keys), *keys, layout, pieces))
        if not answer:
            return
        what, *stored = (part.decode() for part in answer)
        if what == EPOCH:
            raise CommitRefused(
                f"another master took the epoch: {stored[0]} is stored, this commit is of {commit.epoch}"
            )
        stream, position = stored
        raise CommitRefused(
            f"the cursor of {stream} stands at {position}, this commit begins at {commit.cursor_from[stream]}"
        )

    def put(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> None:
        """See `Store`."""
        assert key not in OWNED_KEYS, f"the key {key!r} belongs to the commit"
        expiry = () if ttl_ms is None else ("PX", ttl_ms)
        with redis_errors(self._address):
            self._command("SET", self._prefix + key, value, *expiry)

    def get(self, key: str) -> bytes | None:
        """See `Store`."""
        with redis_errors(self._address):
            return cast("bytes | None", self._command("GET", self._prefix + key))

    def claim_state(self, key: str, *, at_least: int) -> tuple[int, dict[str, bytes]]:
        """See `Store`."""
        with redis_errors(self._address):
            answer = cast("list[bytes]", self._command("EVAL", _STATE_SCRIPT, 1, self._prefix + key, "claim", at_least))
        pairs = iter(answer)
        stored = dict(zip(pairs, pairs, strict=True))
        generation = int(stored.pop(_GENERATION))
        return generation, {field.decode().removeprefix(_NAME): value for field, value in stored.items()}

    def change_state(self, key: str, generation: int, changes: Mapping[str, bytes | None]) -> bool:
        """See `Store`."""
        kept = [(_NAME + name, value) for name, value in changes.items() if value is not None]
        dropped = [_NAME + name for name, value in changes.items() if value is None]
        pairs = [each for pair in kept for each in pair]
        arguments: list[Argument] = ["change", generation, len(kept), *pairs, *dropped]
        with redis_errors(self._address):
            return bool(self._command("EVAL", _STATE_SCRIPT, 1, self._prefix + key, *arguments))

    def close(self) -> None:
        """See `Store`."""
        self._client.close()

    def _lease(self, *arguments: Argument, is_confirmed: bool = False) -> LeaseState:
        """Run the lease script; where replicas are to confirm it, wait for them on the same connection, as WAIT wants it."""
        replicas = self._replicas if is_confirmed else 0
        commands: list[Sequence[Argument]] = [
            ("EVAL", _LEASE_SCRIPT, 2, self._prefix + LEASE, self._prefix + EPOCH, *arguments)
        ]
        if replicas:
            commands.append(("WAIT", replicas, _WAIT_FOR_REPLICAS_MS))
        with redis_errors(self._address):
            answer, *confirmed = self._line.commands(commands)
        if confirmed and cast("int", confirmed[0]) < replicas:
            raise RedisUnavailable(
                f"Redis at {self._address}: {confirmed[0]} of {replicas} replicas confirmed the lease in time"
            )
        if not answer:
            return LeaseState(lease=None, left_ms=0)
        stored, left_ms = cast("tuple[bytes, int]", answer)
        try:
            epoch, holder, address = stored.decode().split(" ", 2)
            lease = Lease(holder=holder, address=address, epoch=int(epoch))
        except ValueError:
            raise RedisUnavailable(
                f"Redis at {self._address}: the key {self._prefix}{LEASE} is no lease; delete it"
            ) from None
        return LeaseState(lease=lease, left_ms=max(left_ms, 0))

    def _command(self, *arguments: Argument) -> object:
        return self._line.command(*arguments)

    def _append_command(self, stream: str, payload: bytes, max_length: int) -> tuple[Argument, ...]:
        return ("XADD", self._prefix + stream, "MAXLEN", "~", max_length, "*", _FIELD, payload)

    def _hash(self, key: str) -> dict[str, bytes]:
        with redis_errors(self._address):
            answer = self._command("HGETALL", self._prefix + key)
        pairs = iter(cast("list[bytes]", answer))
        return {field.decode(): value for field, value in zip(pairs, pairs, strict=True)}

    def _entries(self, answer: object) -> list[Entry]:
        found: list[Entry] = []
        skipped = len(self._prefix.encode())
        for key, raw_entries in cast("list[tuple[bytes, list[_RawEntry]]] | None", answer) or ():
            stream = key[skipped:].decode()
            found += [
                Entry(stream=stream, entry_id=entry_id.decode(), payload=_payload(fields))
                for entry_id, fields in raw_entries
            ]
        return found

    def _run_commit_script(self, *arguments: Argument) -> object:
        """EVALSHA, or EVAL where the server does not know the script yet: after its restart, or a failover."""
        try:
            return self._command("EVALSHA", _COMMIT_SHA, *arguments)
        except NoScriptError:
            return self._command("EVAL", _COMMIT_SCRIPT, *arguments)


def _stored_lease(lease: Lease) -> str:
    return f"{lease.epoch} {lease.holder} {lease.address}"


def _payload(fields: list[bytes] | None) -> bytes:
    """Return the payload of an entry; of one that somebody else wrote, in other fields, the empty bytes."""
    pairs = iter(fields or ())
    return next((value for field, value in zip(pairs, pairs, strict=False) if field == _FIELD_BYTES), b"")


def _lay_out(prefix: str, commit: Commit) -> tuple[list[str], bytes, bytes]:
    """Return a commit as `commit.lua` reads it: its keys, each once, its layout, and all its values in one piece.

    Two arguments instead of three for each event: redis-py takes as long to pack a long command as Redis to run it.
    """
    keys = [prefix + EPOCH, prefix + CURSOR, prefix + REGISTRY]
    positions: dict[str, int] = {}

    def key_of(stream: str) -> int:
        position = positions.get(stream)
        if position is None:
            keys.append(prefix + stream)
            position = positions[stream] = len(keys)
        return position

    values = [(field, value) for field, value in commit.registry.items() if value is not None]
    layout = (
        str(commit.epoch),
        list(commit.cursor_from.items()),
        [(key_of(stream), stream, entry_id) for stream, entry_id in commit.moved().items()],
        [(field, len(value)) for field, value in values],
        [field for field, value in commit.registry.items() if value is None],
        [(key_of(item.stream), item.max_length, len(item.payload)) for item in commit.appends],
        [key_of(stream) for stream in commit.delete_streams],
    )
    pieces = b"".join([*(value for _, value in values), *(item.payload for item in commit.appends)])
    return keys, _encoder.encode(layout), pieces
