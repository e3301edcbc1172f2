"""Which tasks go onto which offers: pure first-fit, by counts of equal tasks rather than task by task.

A framework names what is pending as `Want`s, in order of importance, and gets back a `Plan`: per agent and role the offers to
accept and how many of each want go there, and the offers that are of no use. Offers of one agent and role are merged, because
one ACCEPT may use them together. Resources to launch with are carved out of what was offered (`pool.py`), so they carry the
identity that the master will look for: reserved ones first, which nobody else could use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeAlias, TypeVar

from mesolite.ids import AgentId, OfferId
from mesolite.protocol import Demand, Offer
from mesolite.resources import Resource

from .pool import OfferedPool
from .settings import MAX_DEMANDS

#: The resources of one task, without roles or reservations: what `Demand.shape` says.
Shape: TypeAlias = tuple[Resource, ...]

#: What the framework knows a want by.
Key = TypeVar("Key")


class Constraint(Protocol):
    """Says which agents will do. Must be hashable where wants are told apart by their constraints."""

    def admits(self, offer: Offer) -> bool:
        """Whether a task may run where this offer comes from."""
        ...


@dataclass(frozen=True, slots=True)
class AttributeEquals:
    """The agent has this attribute with this text; "hostname" stands for the agent's hostname."""

    name: str
    text: str

    def admits(self, offer: Offer) -> bool:
        """See `Constraint`."""
        if self.name == "hostname":
            return offer.hostname == self.text
        return any(attribute.name == self.name and attribute.text == self.text for attribute in offer.attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Want(Generic[Key]):
    """So many tasks that are alike in all that matters to placement."""

    key: Key
    shape: Shape
    count: int
    role: str = "*"
    constraints: tuple[Constraint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill(Generic[Key]):
    """`count` tasks of a want, each launched with `resources`."""

    key: Key
    resources: tuple[Resource, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement(Generic[Key]):
    """What to launch with one ACCEPT."""

    agent_id: AgentId
    #: All of one agent and one role; never empty.
    offers: tuple[Offer, ...]
    fills: tuple[Fill[Key], ...]

    @property
    def offer_ids(self) -> tuple[OfferId, ...]:
        """The offers' ids."""
        return tuple(offer.offer_id for offer in self.offers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[Key]):
    """What to do with offers."""

    placements: tuple[Placement[Key], ...]
    #: Offers on which nothing fits.
    unused: tuple[OfferId, ...]


def place(offers: Sequence[Offer], wants: Sequence[Want[Key]]) -> Plan[Key]:
    """Put as many tasks as possible onto offers, earlier wants first, agents in the order of their first offer."""
    left = [want.count for want in wants]
    placements: list[Placement[Key]] = []
    unused: list[OfferId] = []
    for group in _by_agent_and_role(offers):
        fills = _fill(group, wants, left)
        if fills:
            placements.append(Placement(agent_id=group[0].agent_id, offers=tuple(group), fills=tuple(fills)))
        else:
            unused.extend(offer.offer_id for offer in group)
    return Plan(placements=tuple(placements), unused=tuple(unused))


def demands(wants: Sequence[Want[Key]]) -> tuple[Demand, ...]:
    """State wants as the demand to send: one per role and shape, whatever the constraints, in order of first mention.

    At most MAX_DEMANDS of them.
    """
    counts: dict[tuple[str, Shape], int] = {}
    for want in wants:
        if want.count > 0:
            at = (want.role, want.shape)
            counts[at] = counts.get(at, 0) + want.count
    stated = (Demand(role=role, shape=shape, count=count) for (role, shape), count in counts.items())
    return tuple(islice(stated, MAX_DEMANDS))


def _by_agent_and_role(offers: Sequence[Offer]) -> list[list[Offer]]:
    groups: dict[tuple[AgentId, str], list[Offer]] = {}
    for offer in offers:
        groups.setdefault((offer.agent_id, offer.allocation_role), []).append(offer)
    return list(groups.values())


def _fill(group: Sequence[Offer], wants: Sequence[Want[Key]], left: list[int]) -> list[Fill[Key]]:
    """Carve wants out of the offers of one agent and role; `left` counts down."""
    pool: OfferedPool | None = None
    fills: list[Fill[Key]] = []
    for position, want in enumerate(wants):
        if left[position] <= 0 or want.role != group[0].allocation_role:
            continue
        if not all(constraint.admits(group[0]) for constraint in want.constraints):
            continue
        if pool is None:
            pool = OfferedPool(resource for offer in group for resource in offer.resources)
        for resources, count in pool.carve(want.shape, left[position]):
            fills.append(Fill(key=want.key, resources=resources, count=count))
            left[position] -= count
    return fills
