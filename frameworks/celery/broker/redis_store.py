"""An `OwnerStore` on Redis, asked and waited for; and its requests as commands, for the connection that does not wait (`line`).

Redis 6.2 or newer: older ones are not tested.
"""

# redis-py's scripts and answers have hardly any types.
# mypy: disallow-untyped-calls=False

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, cast

import redis
from redis.exceptions import NoScriptError, ResponseError

from mesolite.errors import ConfigError

from .memory import RESTORE_DEPTH
from .records import unpack_record
from .requests import MAX_ASIDE, Busy, Fenced, Guard, Held, Life, OwnerKeys, OwnerStore, Take, Taken, Writes
from .scripts import CLAIM, ENTER, FENCED, RENEW, RESTORE, TAKE, WRITE

MIN_VERSION: Final = (6, 2)
#: Records that are read, or written again, in one command: tens of megabytes in one would look like a server that hangs.
_CHUNK: Final = 200

Argument: TypeAlias = str | bytes | int
Command: TypeAlias = list[Argument]

#: What the line sends by its digest, and loads first.
LINE_SCRIPTS: Final = (TAKE, WRITE)


def digest(script: str) -> str:
    """Return what Redis knows a script by."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


_TAKE_DIGEST: Final = digest(TAKE)
_WRITE_DIGEST: Final = digest(WRITE)


def take_command(keys: OwnerKeys, guard: Guard, take: Take) -> Command:
    """Return a `Take` as a command."""
    queues = [key for step in take.keys for key in step]
    rotating = 1 if take.rotating else 0
    command: Command = ["EVALSHA", _TAKE_DIGEST, 2 + len(queues), keys.guard, keys.owned, *queues]
    command += [guard.text, take.prefix, take.count, take.max_bytes, rotating, len(take.keys[0])]
    return command


def taken(take: Take, answer: object) -> Taken:
    """Read the answer to it."""
    drained, *rest = cast("list[Any]", answer)
    queues = [key for step in take.keys for key in step]
    pairs = zip(rest[::2], rest[1::2], strict=True)
    items = [(f"{take.prefix}.{at}", queues[number - 1], message) for at, (number, message) in enumerate(pairs)]
    return Taken(items, drained == 1)


def write_command(keys: OwnerKeys, guard: Guard, writes: Writes) -> Command:
    """Return `Writes` as a command."""
    queues = [going.key for going in writes.going]
    words: Command = [len(writes.ended), *writes.ended, len(writes.states)]
    for item_id, state in writes.states:
        words += (item_id, state)
    words.append(len(writes.going))
    for item_id, _, first, message in writes.going:
        words += (item_id, "RPUSH" if first else "LPUSH", message)
    words.append(len(writes.aside))
    for item_id, entry in writes.aside:
        words += (item_id, entry)
    command: Command = ["EVALSHA", _WRITE_DIGEST, 4 + len(queues)]
    command += [keys.guard, keys.owned, keys.states, keys.aside, *queues, guard.text, MAX_ASIDE, *words]
    return command


def is_fenced(error: ResponseError) -> bool:
    """Tell whether this says that another guard was set."""
    return FENCED in str(error)


def surely_ahead_s(asked_s: float, theirs_s: float, answered_s: float) -> float:
    """Say how far a clock is ahead of another's that was read between two looks at the first; 0 where they may agree."""
    return min(0.0, answered_s - theirs_s) or max(0.0, asked_s - theirs_s)


class RedisStore(OwnerStore):
    """One owner's messages in Redis.

    Args:
        client: Sends nothing twice, and answers in bytes.
        keys: Where the owner's things are.
        owner: Its name.
    """

    def __init__(self, client: redis.Redis, keys: OwnerKeys, owner: str) -> None:
        self._client: Final = client
        self._keys: Final = keys
        self._owner: Final = owner

    def check_version(self) -> None:
        """Refuse a Redis that is too old.

        Raises:
            ConfigError: It is.
        """
        info: dict[str, Any] = self._run("INFO", "server")
        version = str(info.get("redis_version", ""))
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if numbers < MIN_VERSION:
            raise ConfigError(
                f"the broker is Redis {version}; `mesolite celery` needs {'.'.join(map(str, MIN_VERSION))} or newer"
            )

    def clock_ahead_s(self) -> float:
        """Return by how much this machine's clock is surely ahead of the broker's; below 0 where it is behind (TIME)."""
        asked_s = time.time()
        seconds, microseconds = cast("tuple[int, int]", self._run("TIME"))
        return surely_ahead_s(asked_s, seconds + microseconds / 1e6, time.time())

    def claim(self, salt: str, lease_ms: int) -> Life | Busy:
        """See `OwnerStore`."""
        keys = self._keys
        answer = self._script(CLAIM, [keys.guard, keys.lease, keys.owners], [salt, lease_ms, self._owner])
        done, number = cast("list[int]", answer)
        return Life(number, salt) if done else Busy(number)

    def enter(self, guard: Guard, lease_ms: int) -> bool:
        """See `OwnerStore`."""
        keys, life = self._keys, guard.life
        words: Command = [life.number, life.text, guard.session, lease_ms, self._owner]
        return bool(self._script(ENTER, [keys.guard, keys.lease, keys.owners], words))

    def renew(self, guard: Guard, lease_ms: int) -> bool:
        """See `OwnerStore`."""
        return bool(self._script(RENEW, [self._keys.guard, self._keys.lease], [guard.life.text, lease_ms]))

    def leave(self, guard: Guard) -> None:
        """See `OwnerStore`."""
        self.renew(guard, 0)

    def take(self, guard: Guard, take: Take) -> Taken:
        """See `OwnerStore`."""
        return taken(take, self._evalsha(TAKE, take_command(self._keys, guard, take)))

    def write(self, guard: Guard, writes: Writes) -> None:
        """See `OwnerStore`."""
        self._evalsha(WRITE, write_command(self._keys, guard, writes))

    def ids(self) -> set[str]:
        """See `OwnerStore`."""
        return {item_id.decode() for item_id in cast("list[bytes]", self._run("HKEYS", self._keys.owned))}

    def held(self, item_ids: Sequence[str]) -> list[Held]:
        """See `OwnerStore`."""
        found: list[Held] = []
        for at in range(0, len(item_ids), _CHUNK):
            chunk = item_ids[at : at + _CHUNK]
            records: list[bytes | None] = self._run("HMGET", self._keys.owned, *chunk)
            states: list[bytes | None] = self._run("HMGET", self._keys.states, *chunk)
            for item_id, record, state in zip(chunk, records, states, strict=True):
                if record is not None:
                    found.append(Held(item_id, *unpack_record(record), (state or b"").decode()))
        return found

    def restore(self, guard: Guard, held: Sequence[Held]) -> None:
        """See `OwnerStore`."""
        keys = self._keys
        for at in range(0, len(held), _CHUNK):
            chunk = held[at : at + _CHUNK]
            words: Command = [guard.text, RESTORE_DEPTH]
            for item_id, _, message, state in chunk:
                words += (item_id, message, state)
            queues = [item.key for item in chunk]
            self._script(RESTORE, [keys.guard, keys.owned, keys.states, *queues], words)

    def _script(self, script: str, keys: Sequence[str], words: Sequence[Argument]) -> Any:
        return self._evalsha(script, ["EVALSHA", digest(script), len(keys), *keys, *words])

    def _evalsha(self, script: str, command: Command) -> Any:
        try:
            return self._run(*command)
        except NoScriptError:
            self._run("SCRIPT LOAD", script)
            return self._run(*command)

    def _run(self, *command: Argument) -> Any:
        execute: Callable[..., Any] = self._client.execute_command
        try:
            return execute(*command)
        except ResponseError as error:
            if is_fenced(error):
                raise Fenced from None
            raise
