"""How much a kind of calls holds, measured against the others: by *dominant share*, the largest part of any one thing that a kind
holds of what all kinds hold."""

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from .options import Kind
from .programs import ExecutorShare, shape_with_executor

#: The name of a worker's place among `max_workers`, among the names of resources.
PLACE: Final = "worker"


class Shares:
    """Of the kinds of one framework.

    Args:
        max_workers: Of all kinds.
        share: Of executors.
    """

    def __init__(self, max_workers: int, share: ExecutorShare) -> None:
        self._max_workers: Final = max_workers
        self._share: Final = share
        self._units: Final[dict[Kind, Counter[str]]] = {}
        #: The most that was held of each thing since two kinds had calls: as measures must not move with what they measure.
        self._totals: Counter[str] = Counter()

    def note(self, kinds: Iterable[Kind]) -> None:
        """Take in that one worker of each of these is there."""
        amounts: Counter[str] = Counter({PLACE: self._max_workers})
        for kind, count in Counter(kinds).items():
            for name, amount in self.room(kind).items():
                amounts[name] += count * amount
        self._totals |= amounts

    def of(self, kind: Kind, workers: int) -> Fraction:
        """What a kind with so many workers has."""
        unit = self.unit(kind)
        return max(Fraction(workers * amount, max(1, self._totals[name])) for name, amount in unit.items())

    def unit(self, kind: Kind) -> "Counter[str]":
        """What a worker of a kind holds, in thousandths, and the place that it takes."""
        unit = self._units.get(kind)
        if unit is None:
            unit = self._units[kind] = Counter({PLACE: 1})
            for resource in shape_with_executor(kind, self._share):
                unit[resource.name] += resource.scalar or 0
        return unit

    def room(self, kind: Kind) -> "Counter[str]":
        """What a worker of a kind holds of its agent."""
        return Counter({name: amount for name, amount in self.unit(kind).items() if name != PLACE})

    def forget(self) -> None:
        """There is nobody to measure against."""
        self._totals.clear()
