"""The agent's own book of resources: the second guard against over-commitment (DESIGN 5, first invariant).

The master keeps the real account, with roles and reservations. Here only quantities count: all that a machine's tasks hold
of one name must fit into what the machine has of it, whoever it is reserved for. A task that would not fit is refused,
whatever a confused master believes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mesolite.resources import Resource
from mesolite.resources.intervals import Intervals, coalesce, contains, difference, union
from mesolite.resources.validation import validate_all


@dataclass(frozen=True, slots=True)
class Holding:
    """What one task holds, by name. Names absent are not held."""

    #: Thousandths.
    scalars: tuple[tuple[str, int], ...]
    ranges: tuple[tuple[str, Intervals], ...] = ()
    sets: tuple[tuple[str, frozenset[str]], ...] = ()


NOTHING: Final = Holding(())


def holding_of(resources: Iterable[Resource]) -> Holding | str:
    """Sum a task's resources up.

    Returns:
        The holding, or what is wrong with the resources.
    """
    scalars: dict[str, int] = {}
    ranges: dict[str, Intervals] = {}
    sets: dict[str, frozenset[str]] = {}
    resources = tuple(resources)
    error = validate_all(resources)
    if error is not None:
        return error
    for resource in resources:
        name = resource.name
        if resource.scalar is not None:
            scalars[name] = scalars.get(name, 0) + resource.scalar
        elif resource.ranges is not None:
            pairs = coalesce((each.begin, each.end) for each in resource.ranges)
            if difference(pairs, ranges.get(name, ())) != pairs:
                return f"resource {name!r}: names a number twice"
            ranges[name] = union(ranges.get(name, ()), pairs)
        elif resource.set is not None:
            items = frozenset(resource.set)
            if items & sets.get(name, frozenset()):
                return f"resource {name!r}: names an item twice"
            sets[name] = sets.get(name, frozenset()) | items
    return Holding(tuple(scalars.items()), tuple(ranges.items()), tuple(sets.items()))


class ResourceLedger:
    """Totals of one machine and what of them is held."""

    def __init__(self, total: Iterable[Resource]) -> None:
        """Start empty.

        Args:
            total: What the machine has; valid, because it comes from its own configuration.
        """
        holding = holding_of(total)
        assert isinstance(holding, Holding), holding
        self._total: Final = dict(holding.scalars)
        self._total_ranges: Final = dict(holding.ranges)
        self._total_sets: Final = dict(holding.sets)
        self._held = dict.fromkeys(self._total, 0)
        self._held_ranges: dict[str, Intervals] = {}
        self._held_sets: dict[str, frozenset[str]] = {}

    @property
    def held(self) -> Mapping[str, int]:
        """Scalars held now, in thousandths."""
        return self._held

    @property
    def total(self) -> Mapping[str, int]:
        """Scalars there are, in thousandths."""
        return self._total

    def shortage(self, holding: Holding) -> str | None:
        """Say what is missing for one more holding, or None where it fits."""
        for name, amount in holding.scalars:
            free = self._total.get(name, 0) - self._held.get(name, 0)
            if amount > free:
                return f"{name}: {amount / 1000:g} asked, {max(free, 0) / 1000:g} free"
        for name, pairs in holding.ranges:
            if not contains(difference(self._total_ranges.get(name, ()), self._held_ranges.get(name, ())), pairs):
                return f"{name}: some of {_text(pairs)} are taken or not there"
        for name, items in holding.sets:
            if not items <= self._total_sets.get(name, frozenset()) - self._held_sets.get(name, frozenset()):
                return f"{name}: some of {sorted(items)} are taken or not there"
        return None

    def take_all(self, holdings: Sequence[Holding]) -> str | None:
        """Book all of these, or none and say what is missing."""
        for count, holding in enumerate(holdings):
            missing = self.shortage(holding)
            if missing is not None:
                for taken in holdings[:count]:
                    self.give(taken)
                return missing
            self.take(holding)
        return None

    def take(self, holding: Holding) -> None:
        """Book a holding. After a machine shrank it may exceed the total (reference 2.0, I1); a new task never does."""
        for name, amount in holding.scalars:
            self._held[name] = self._held.get(name, 0) + amount
        for name, pairs in holding.ranges:
            self._held_ranges[name] = union(self._held_ranges.get(name, ()), pairs)
        for name, items in holding.sets:
            self._held_sets[name] = self._held_sets.get(name, frozenset()) | items

    def give(self, holding: Holding) -> None:
        """Book a holding back, exactly once for each take."""
        for name, amount in holding.scalars:
            rest = self._held[name] - amount
            assert rest >= 0, f"{name} was given back twice"
            self._held[name] = rest
        for name, pairs in holding.ranges:
            self._held_ranges[name] = difference(self._held_ranges[name], pairs)
        for name, items in holding.sets:
            self._held_sets[name] -= items


def _text(pairs: Intervals) -> str:
    return ",".join(f"{begin}-{end}" if begin != end else str(begin) for begin, end in pairs[:10])
