"""What a client wants, and how much of it is being offered already (DESIGN 7).

A demand is a list of shapes, each with the number of units wanted. Offers are whole units, and what is offered but not yet
answered counts: it *covers* that many units, so that nobody is offered more than wanted. Three things end a cover:

    accepted    the units are used: cover and wanted number both fall
    returned    the units were declined, rescinded or left over: only the cover falls, so they are needed again
    restated    new demand: what is out is matched with the new shapes, in their order

An accepted or returned amount is read as so many units of the first shape, then of the second, and so on, as far as the
cover goes. With several shapes on one agent that can guess wrong; the demand that the framework states next puts it right.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from mesolite.ids import AgentId
from mesolite.protocol import Demand
from mesolite.resources import Resource, Resources

from .carving import Amounts, carve

#: Remembered cuts of one shape; an agent rarely holds so many units of anything.
MAX_CUTS: Final = 256

#: A shape's names and amounts, sorted by name.
ShapeKey: TypeAlias = tuple[tuple[str, int], ...]


def whole_units(amounts: Amounts, shape: Amounts) -> int:
    """How many units of a shape, which is not empty, fit into amounts."""
    return min(amounts.get(name, 0) // amount for name, amount in shape.items())


@dataclass(slots=True, eq=False)
class Want:
    """One shape and its numbers."""

    #: Identifies the shape across restatements.
    written: tuple[Resource, ...]
    #: Of one unit; not empty.
    amounts: dict[str, int]
    #: The same, to be compared and hashed.
    key: ShapeKey
    #: Units wanted in all; at least 0.
    count: int
    #: Units of them that outstanding offers hold.
    covered: int = 0
    #: Since when units are needed and none was offered; None where none are, or none is counted (holds.py).
    waiting_since_ms: int | None = None
    #: A reminder of when it has waited long enough is set (holds.py).
    is_queued: bool = False
    #: Units of this shape cut out of plain agents, by their number: the same numbers come again and again.
    _cuts: dict[int, Resources | None] = field(default_factory=dict[int, Resources | None])

    def amounts_of(self, units: int) -> dict[str, int]:
        """Amounts of so many units."""
        return {name: amount * units for name, amount in self.amounts.items()}

    def cut(self, candidate: Resources, units: int, *, plain: bool) -> Resources | None:
        """Cut so many units out of resources that have the amounts; None where they are not in pieces that can be cut.

        Args:
            candidate: Unstamped.
            units: At least 1.
            plain: Of every name in the shape, `candidate` holds nothing that is more than an amount.
        """
        if not plain:
            return carve(candidate, self.amounts, units)
        if units not in self._cuts:
            if len(self._cuts) >= MAX_CUTS:
                self._cuts.clear()
            self._cuts[units] = carve(candidate, self.amounts, units)
        return self._cuts[units]

    def needed(self) -> int:
        """Units still to be offered. Not below 0, though more may be covered after accepting more than was wanted."""
        return max(0, self.count - self.covered)


@dataclass(slots=True, eq=False)
class DemandBook:
    """A client's demand."""

    wants: list[Want]
    #: Units of each want that are offered, by agent; no entry of an agent is all zeros.
    _cover: dict[AgentId, list[int]] = field(default_factory=dict[AgentId, list[int]])

    @classmethod
    def stated(
        cls, demands: Iterable[Demand], offered: Mapping[AgentId, Resources], before: "DemandBook | None"
    ) -> "DemandBook":
        """Take a statement down, and match it with what is being offered.

        Args:
            demands: Of one role. Those that ask for nothing are left out.
            offered: What is out, by agent.
            before: The statement that this one replaces, which is void then: shapes in both stay the same objects.

        Raises:
            ResourceError: A shape is not well formed.
        """
        old = list(before.wants) if before is not None else []
        wants: list[Want] = []
        for demand in demands:
            if demand.count <= 0:
                continue
            # A framework has few shapes, so that looking through them is cheaper than hashing one.
            want = next((want for want in old if want.written == demand.shape), None)
            if want is not None:
                old.remove(want)
                want.count, want.covered = demand.count, 0
                wants.append(want)
            elif amounts := Resources.of(demand.shape).quantities().as_dict():
                wants.append(Want(demand.shape, amounts, tuple(amounts.items()), demand.count))
        book = cls(wants)
        for agent_id, resources in offered.items():
            book._match(agent_id, resources.quantities().as_dict())
        return book

    def hungry(self) -> bool:
        """Tell whether anything is still to be offered."""
        return any(want.count > want.covered for want in self.wants)

    def fits(self, amounts: Amounts) -> Iterator[tuple[Want, int]]:
        """The wants of which units are needed and fit, and how many, each as if it were alone."""
        for want in self.wants:
            needed = want.count - want.covered
            if needed > 0:
                units = min(needed, whole_units(amounts, want.amounts))
                if units:
                    yield want, units

    def granted(self, agent_id: AgentId, want: Want, units: int) -> None:
        """Units are being offered."""
        want.covered += units
        cover = self._cover.get(agent_id)
        if cover is None:
            cover = self._cover[agent_id] = [0] * len(self.wants)
        cover[self.wants.index(want)] += units

    def accepted(self, agent_id: AgentId, used: Amounts) -> None:
        """Part of what was offered is used."""
        for want, units in self._uncover(agent_id, dict(used)):
            want.count -= min(units, want.count)

    def returned(self, agent_id: AgentId, amounts: Amounts) -> None:
        """Part of what was offered is no longer out."""
        self._uncover(agent_id, dict(amounts))

    def nothing_offered(self, agent_id: AgentId) -> None:
        """Nothing of this agent is out any more: whatever it covered is needed again."""
        for want, units in zip(self.wants, self._cover.pop(agent_id, ()), strict=False):
            want.covered -= units

    def check(self, offered: Mapping[AgentId, Resources]) -> None:
        """Assert that covers add up and stand for offers that are out."""
        for index, want in enumerate(self.wants):
            assert want.count >= 0
            covered = sum(cover[index] for cover in self._cover.values())
            assert want.covered == covered, f"{want.amounts}: {covered} units are out, booked {want.covered}"
        for agent_id, cover in self._cover.items():
            assert agent_id in offered, f"units on {agent_id} count as offered, but nothing there is"
            assert any(cover), f"the cover on {agent_id} is empty"
            assert all(units >= 0 for units in cover)

    def _match(self, agent_id: AgentId, amounts: dict[str, int]) -> None:
        for want in self.wants:
            units = min(want.needed(), whole_units(amounts, want.amounts))
            if units:
                _take_away(amounts, want.amounts, units)
                self.granted(agent_id, want, units)

    def _uncover(self, agent_id: AgentId, amounts: dict[str, int]) -> list[tuple[Want, int]]:
        uncovered: list[tuple[Want, int]] = []
        cover = self._cover.get(agent_id)
        if cover is None:
            return uncovered
        for index, want in enumerate(self.wants):
            units = min(cover[index], whole_units(amounts, want.amounts))
            if units:
                _take_away(amounts, want.amounts, units)
                cover[index] -= units
                want.covered -= units
                uncovered.append((want, units))
        if not any(cover):
            del self._cover[agent_id]
        return uncovered


def _take_away(amounts: dict[str, int], shape: Amounts, units: int) -> None:
    for name, amount in shape.items():
        amounts[name] -= amount * units
