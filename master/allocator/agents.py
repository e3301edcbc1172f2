"""An agent's books: what it has, who holds how much of it, and what is free.

free = total - held            as long as the agent has all that is held
free = what no name lacks      after the agent shrank below what is held (I1), until enough is recovered
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from mesolite.ids import AgentId
from mesolite.protocol import Attribute
from mesolite.resources import EMPTY, Resource, Resources, ResourceType

from .clients import Client
from .demand import Want

#: Totals about which everything is remembered. A cluster is bought in few kinds of machines.
MAX_KINDS: Final = 256


@dataclass(slots=True, eq=False)
class Hold:
    """An agent is kept for one client's large demand (holds.py)."""

    client: Client
    #: Amounts of the one unit that is waited for.
    amounts: dict[str, int]
    until_ms: int


class AgentBook:
    """One agent."""

    __slots__ = (
        "_free_amounts",
        "_shrunk",
        "active",
        "agent_id",
        "attributes",
        "free",
        "has_reservations",
        "held",
        "hold",
        "hostname",
        "passed",
        "plain_names",
        "total",
        "total_scalars",
    )

    def __init__(self, agent_id: AgentId, hostname: str, total: Resources, attributes: tuple[Attribute, ...]) -> None:
        self.agent_id = agent_id
        self.hostname = hostname
        self.attributes = attributes
        self.active = True
        #: What each client holds, offered or used, unstamped; never empty.
        self.held: dict[Client, Resources] = {}
        #: Whom free space is kept for, if for anybody.
        self.hold: Hold | None = None
        #: Clients that gave an offer of this agent back without a filter, longest ago first: others are asked before them.
        self.passed: dict[Client, None] = {}
        #: All it has, unstamped.
        self.total = total
        kind = _kind_of(total)
        #: What counts in the cluster's totals. Not to be changed.
        self.total_scalars = kind.scalars
        self.has_reservations = kind.has_reservations
        #: Names of which there is one scalar that is nothing but an amount: equal numbers of it are equal resources.
        self.plain_names = kind.plain_names
        #: What nobody holds.
        self.free = total
        #: The same by name, once somebody asked.
        self._free_amounts: dict[str, int] | None = None
        #: The agent lacks some of what is held.
        self._shrunk = False

    def set_total(self, total: Resources) -> None:
        """Replace what the agent has."""
        kind = _kind_of(total)
        self.total = total
        self.total_scalars = kind.scalars
        self.has_reservations = kind.has_reservations
        self.plain_names = kind.plain_names
        self._recount()

    def take(self, client: Client, resources: Resources) -> None:
        """Book resources, unstamped, for a client."""
        held = self.held.get(client)
        if held is None:
            client.holdings += 1
            self.held[client] = resources
        else:
            self.held[client] = held + resources
        if resources is self.free:
            self.free = EMPTY
            self._free_amounts = None
        elif self._shrunk or not self.free.contains(resources):
            self._recount()
        else:
            self.free = self.free - resources
            self._free_amounts = None

    def give_back(self, client: Client, resources: Resources) -> None:
        """Free resources, unstamped, that a client held."""
        held = self.held.get(client, EMPTY)
        assert held.contains(resources), f"{client.name()} gives {resources} back to {self.agent_id} but holds {held}"
        rest = held - resources
        if rest:
            self.held[client] = rest
        else:
            del self.held[client]
            client.holdings -= 1
        if self._shrunk:
            self._recount()
        else:
            self.free = self.free + resources
            self._free_amounts = None

    def cut(self, want: Want, role: str, units: int) -> Resources | None:
        """Cut units out of what a role could be offered, which has the amounts; None where the pieces do not allow it."""
        return want.cut(self.free_for(role), units, plain=self.plain_names.issuperset(want.amounts))

    def cut_from_total(self, want: Want, role: str) -> Resources | None:
        """Cut one unit out of what a role could be offered if the agent were empty, likewise."""
        return want.cut(self.total.allocatable_to(role), 1, plain=self.plain_names.issuperset(want.amounts))

    def free_for(self, role: str) -> Resources:
        """What a role could be offered: what is free and not reserved for others."""
        return self.free.allocatable_to(role) if self.has_reservations else self.free

    def free_amounts(self, role: str) -> dict[str, int]:
        """The same by name. Not to be changed."""
        if self.has_reservations:
            return self.free.allocatable_to(role).quantities().as_dict()
        return self.all_free_amounts()

    def all_free_amounts(self) -> dict[str, int]:
        """What is free for any role, by name. Not to be changed."""
        if self._free_amounts is None:
            self._free_amounts = self.free.quantities().as_dict()
        return self._free_amounts

    def total_amounts(self, role: str) -> dict[str, int]:
        """What a role could be offered if the agent were empty, by name."""
        return self.total.allocatable_to(role).quantities().as_dict()

    def check(self) -> None:
        """Assert that nothing is given away twice (I1)."""
        held = sum(self.held.values(), EMPTY)
        assert all(self.held.values()), f"{self.agent_id}: somebody holds nothing"
        assert self._shrunk == (not self.total.contains(held)), f"{self.agent_id}: {held} of {self.total}"
        if not self._shrunk:
            assert self.free + held == self.total, f"{self.agent_id}: free {self.free}, held {held}, total {self.total}"
        over = held.quantities() - self.total.quantities()
        assert not any(self.free.quantities().get(name) for name in over.names()), f"{self.agent_id}: {over} too much"

    def _recount(self) -> None:
        held = sum(self.held.values(), EMPTY)
        self._shrunk = not self.total.contains(held)
        if self._shrunk:
            self.free = self.total.shrink_to(self.total.quantities() - held.quantities())
        else:
            self.free = self.total - held
        self._free_amounts = None


class _Kind(NamedTuple):
    """What an agent's total says about it."""

    scalars: dict[str, int]
    has_reservations: bool
    plain_names: frozenset[str]


@lru_cache(maxsize=MAX_KINDS)
def _kind_of(total: Resources) -> _Kind:
    return _Kind(_scalars(total), bool(total.reserved()), _plain_names(total))


def _plain_names(resources: Resources) -> frozenset[str]:
    names = Counter(each.name for each in resources)
    return frozenset(
        each.name
        for each in resources
        if names[each.name] == 1 and each == Resource(name=each.name, type=ResourceType.SCALAR, scalar=each.scalar)
    )


def _scalars(resources: Resources) -> dict[str, int]:
    names = {resource.name for resource in resources if resource.type is ResourceType.SCALAR}
    return {name: amount for name, amount in resources.quantities() if name in names}
