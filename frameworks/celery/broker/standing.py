"""What operators do with owned messages while no dispatcher of their name lives: look, give back, put back what was set aside."""

# redis-py's answers have hardly any types.
# mypy: disallow-untyped-calls=False

import json
import secrets
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import redis

from mesolite.errors import Superseded

from .book import Book
from .decoding import Layout, arrival
from .reconciling import write_all
from .redis_store import RedisStore
from .requests import MAX_ASIDE, OWNERS_KEY, Guard, Life, owner_keys

#: A release takes far less; a dispatcher of the same name that starts meanwhile waits.
_LEASE_MS: Final = 30_000
#: Puts an entry back, unless another operator did.
_PUT_BACK: Final = """
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[2])
return 1
"""

_Argument: TypeAlias = str | bytes | int


class Standing(NamedTuple):
    """An owner and what it has."""

    owner: str
    #: Whether a dispatcher of this name lives.
    lives: bool
    owned: int
    #: Of these, given to executors.
    given: int
    aside: int


class Aside(NamedTuple):
    """A message that was set aside."""

    #: The list it came from.
    key: str
    why: str
    #: Wall clock, seconds.
    at_s: float
    message: bytes
    #: Celery's id and name of its task, as far as the message can be read.
    task_id: str
    task: str
    #: As Redis has it.
    entry: bytes


def standings(client: redis.Redis, prefix: str = "") -> list[Standing]:
    """Return all owners that ever were, by name.

    Args:
        client: Of the broker.
        prefix: kombu's `global_keyprefix`.
    """
    run: Callable[..., Any] = client.execute_command
    owners: list[str] = sorted(name.decode() for name in run("SMEMBERS", f"{prefix}{OWNERS_KEY}"))
    found: list[Standing] = []
    for owner in owners:
        keys = owner_keys(prefix, owner)
        found.append(
            Standing(
                *(owner, run("EXISTS", keys.lease) == 1, run("HLEN", keys.owned), run("HLEN", keys.states)),
                run("LLEN", keys.aside),
            )
        )
    return found


def release(client: redis.Redis, owner: str, *, layout: Layout, given: bool = False) -> int:
    """Put what an owner has back into its queues, for any consumer; the oldest is the next to be taken. Return how many.

    Args:
        client: Of the broker.
        owner: Whose: a dispatcher that will not start again.
        layout: kombu's `global_keyprefix` and `sep`.
        given: Also what was given to executors, and may have run or run still: those tasks may run twice.

    Raises:
        Superseded: A dispatcher of this name lives.
    """
    store = RedisStore(client, owner_keys(layout.prefix, owner), owner)
    life = store.claim(secrets.token_hex(4), _LEASE_MS)
    if not isinstance(life, Life):
        raise Superseded(f"a dispatcher named {owner!r} lives, or died less than {life.lapses_in_ms / 1000:.0f} s ago")
    guard, book = Guard(life, 0), Book(life)
    for held in store.held(sorted(store.ids())):
        try:
            came = arrival(held.item_id, held.key, held.message, layout, state=held.state, redelivered=True)
        except ValueError:
            # Whoever takes it next sets it aside, or rejects it by its own rules.
            continue
        book.arrived([came])
        if given:
            book.take_back(came.state[1:] or came.tag)
    count = book.let_go()
    write_all(store, guard, book)
    store.leave(guard)
    return count


def aside(client: redis.Redis, owner: str, *, prefix: str = "", most: int = 100) -> list[Aside]:
    """Return what was set aside last, the newest first."""
    run: Callable[..., Any] = client.execute_command
    entries: list[bytes] = run("LRANGE", owner_keys(prefix, owner).aside, 0, most - 1)
    return [_aside_of(entry) for entry in entries]


def put_back(client: redis.Redis, owner: str, *, prefix: str = "", chosen: Sequence[Aside] | None = None) -> int:
    """Put what was set aside back into its queues, last to be taken, as new messages; return how many.

    A message that cannot be read goes back as it is, and will be set aside again.

    Args:
        client: Of the broker.
        owner: Whose.
        prefix: kombu's `global_keyprefix`.
        chosen: Of what `aside` returned; None: all, the oldest first.
    """
    run: Callable[..., Any] = client.execute_command
    key = owner_keys(prefix, owner).aside
    if chosen is None:
        chosen = aside(client, owner, prefix=prefix, most=MAX_ASIDE)[::-1]
    return sum(run("EVAL", _PUT_BACK, 2, key, each.key, each.entry, _renewed(each.message)) for each in chosen)


def drop(client: redis.Redis, owner: str, chosen: Sequence[Aside], *, prefix: str = "") -> int:
    """Forget what was set aside, of what `aside` returned; return how many."""
    run: Callable[..., Any] = client.execute_command
    key = owner_keys(prefix, owner).aside
    return sum(run("LREM", key, -1, each.entry) for each in chosen)


def _aside_of(entry: bytes) -> Aside:
    head, _, message = entry.partition(b"\n")
    said: dict[str, Any] = json.loads(head)
    headers = _headers(message)
    task_id, task = str(headers.get("id") or ""), str(headers.get("task") or "")
    return Aside(str(said["key"]), str(said["why"]), float(said["at_s"]), message, task_id, task, entry)


def _headers(message: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(message)["headers"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}


def _renewed(message: bytes) -> _Argument:
    """Give a message another tag: by the one it has it is known as one that had its last word."""
    try:
        known: dict[str, Any] = json.loads(message)
        known["properties"]["delivery_tag"] = str(uuid.uuid4())
    except (ValueError, TypeError, KeyError, RecursionError):
        return message
    return json.dumps(known)
