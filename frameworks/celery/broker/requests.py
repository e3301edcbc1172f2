"""What is asked of the broker about owned messages. `redis_store` asks Redis, `memory` plays it; one test suite binds both.

Every request carries a guard; the broker does nothing where another guard was set since:

    life      a number that grows with each start under this owner's name, and a salt, for numbers that a failover forgot
    session   grows with each connection within a life, so that what an older connection still had on its way is void
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

#: Names of keys, behind kombu's `global_keyprefix`.
OWNERS_KEY: Final = "mesolite.owners"
#: What was set aside at most, for each owner; the oldest go first. People look at the newest.
MAX_ASIDE: Final = 10_000


class Fenced(Exception):
    """The guard is not the one that was set last."""


class Life(NamedTuple):
    """One start of a dispatcher."""

    number: int
    salt: str

    @property
    def text(self) -> str:
        """As in keys and ids."""
        return f"{self.number}.{self.salt}"


class Guard(NamedTuple):
    """Who asks."""

    life: Life
    session: int

    @property
    def text(self) -> str:
        """As Redis has it."""
        return f"{self.life.text}.{self.session}"


class OwnerKeys(NamedTuple):
    """Where an owner's things are."""

    guard: str
    lease: str
    #: Hash: id to record.
    owned: str
    #: Hash: id to state, of what was given.
    states: str
    #: List, newest first.
    aside: str
    #: Set of all owners' names.
    owners: str


def owner_keys(prefix: str, owner: str) -> OwnerKeys:
    """Return an owner's keys."""
    guard, lease, owned, states, aside = (
        f"{prefix}mesolite.{kind}.{owner}" for kind in ("guard", "lease", "owned", "states", "aside")
    )
    return OwnerKeys(guard, lease, owned, states, aside, f"{prefix}{OWNERS_KEY}")


@dataclass(frozen=True, slots=True)
class Take:
    """Take messages out of queues and own them, in one step."""

    #: What ids begin with: the life and a number that this request has alone.
    prefix: str
    #: For each priority, the keys of the queues in the order in which they are looked at.
    keys: Sequence[Sequence[str]]
    #: At most so many.
    count: int
    #: None is taken once so many bytes are.
    max_bytes: int
    #: After each message its queue comes last (kombu's round robin).
    rotating: bool


class Taken(NamedTuple):
    """What a `Take` brought."""

    #: Id, key and message of each.
    items: list[tuple[str, str, bytes]]
    #: Nothing was left.
    drained: bool


class Goes(NamedTuple):
    """An owned message goes back into a queue, if it still is owned."""

    item_id: str
    key: str
    #: It is the next to be taken; otherwise the last.
    first: bool
    message: bytes


@dataclass(frozen=True, slots=True)
class Writes:
    """What changed about owned messages. Done again it does nothing."""

    #: Forgotten.
    ended: list[str] = field(default_factory=list[str])
    #: Id and state; "" of what was not given after all.
    states: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    going: list[Goes] = field(default_factory=list[Goes])
    #: Id, and what is kept for people.
    aside: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])


class Held(NamedTuple):
    """An owned message as somebody has it in mind."""

    item_id: str
    key: str
    message: bytes
    #: "" where it was not given.
    state: str


class Busy(NamedTuple):
    """Another dispatcher of this name lives."""

    #: Its lease lasts so long if it does not renew it.
    lapses_in_ms: int


class OwnerStore(Protocol):
    """The broker, asked and waited for. `take`, `write` and `restore` raise `Fenced`."""

    def claim(self, salt: str, lease_ms: int) -> Life | Busy:
        """Begin a life, unless another's lease lasts."""
        ...

    def enter(self, guard: Guard, lease_ms: int) -> bool:
        """Set a guard of this life. False where another life began since."""
        ...

    def renew(self, guard: Guard, lease_ms: int) -> bool:
        """Prolong the lease. False where the guard is not this life's."""
        ...

    def leave(self, guard: Guard) -> None:
        """End the lease, where it is this life's."""
        ...

    def take(self, guard: Guard, take: Take) -> Taken:
        """Take messages."""
        ...

    def write(self, guard: Guard, writes: Writes) -> None:
        """Write what changed."""
        ...

    def ids(self) -> set[str]:
        """Return the ids of all that is owned."""
        ...

    def held(self, item_ids: Sequence[str]) -> list[Held]:
        """Return these of the owned messages."""
        ...

    def restore(self, guard: Guard, held: Sequence[Held]) -> None:
        """Own these again, out of their queues where they are back there."""
        ...
