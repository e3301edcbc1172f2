"""Offered resources while they are being carved up into tasks.

Resources of one name may stand in several lots: reserved for the role, reserved for its ancestors, unreserved. A task's share
must be taken from lots and keep their identity, or the master would not find it in the offer (reference 1.12, 2.4). Amounts are
integer thousandths. Shapes ask for scalars only; what else an offer holds (ports, sets, volumes, revocable or shared resources)
is for frameworks that look at offers themselves.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from mesolite.resources import Resource, ResourceType


class OfferedPool:
    """What is left of the offers of one agent and one role."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        #: Lots per name, the most specifically reserved first; each a resource and what is left of it.
        self._lots: dict[str, list[_Lot]] = {}
        for resource in resources:
            if _plain(resource):
                self._lots.setdefault(resource.name, []).append(_Lot(resource))
        for lots in self._lots.values():
            lots.sort(key=lambda lot: -len(lot.resource.reservations))

    def fits(self, shape: tuple[Resource, ...]) -> bool:
        """Whether one unit of a shape is left."""
        needs = _needs(shape)
        return needs is not None and self._has(needs)

    def carve(self, shape: tuple[Resource, ...], limit: int) -> list[tuple[tuple[Resource, ...], int]]:
        """Take out up to `limit` units of a shape.

        Returns:
            Runs of (resources of one unit, how many such units). One run is the rule: several arise only where a name stands in
            several lots.
        """
        needs = _needs(shape)
        if needs is None:
            return []
        runs: list[tuple[tuple[Resource, ...], int]] = []
        while limit > 0:
            run = self._run(needs, limit) or self._straddle(needs)
            if run is None:
                break
            runs.append(run)
            limit -= run[1]
        return runs

    def _run(self, needs: dict[str, int], limit: int) -> tuple[tuple[Resource, ...], int] | None:
        """Take as many equal units as one lot per name gives."""
        chosen: list[tuple[_Lot, int]] = []
        for name, milli in needs.items():
            lot = next((lot for lot in self._lots.get(name, ()) if lot.left_milli >= milli), None)
            if lot is None:
                return None
            chosen.append((lot, milli))
        count = min(limit, *(lot.left_milli // milli for lot, milli in chosen))
        return tuple(lot.take(milli, count) for lot, milli in chosen), count

    def _straddle(self, needs: dict[str, int]) -> tuple[tuple[Resource, ...], int] | None:
        """Take one unit out of several lots of a name."""
        if not self._has(needs):
            return None
        taken: list[Resource] = []
        for name, milli in needs.items():
            for lot in self._lots[name]:
                part = min(milli, lot.left_milli)
                if part:
                    taken.append(lot.take(part, 1))
                    milli -= part
        return tuple(taken), 1

    def _has(self, needs: dict[str, int]) -> bool:
        return all(sum(lot.left_milli for lot in self._lots.get(name, ())) >= milli for name, milli in needs.items())


class _Lot:
    __slots__ = ("left_milli", "resource")

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.left_milli = resource.scalar or 0

    def take(self, milli: int, count: int) -> Resource:
        """Take `count` times `milli`; returns one of them."""
        self.left_milli -= milli * count
        assert self.left_milli >= 0, "took more than was offered"
        return replace(self.resource, scalar=milli)


def _plain(resource: Resource) -> bool:
    return (
        resource.type is ResourceType.SCALAR
        and resource.disk is None
        and not resource.revocable
        and not resource.shared
    )


def _needs(shape: tuple[Resource, ...]) -> dict[str, int] | None:
    """Thousandths per name; None where the shape asks for nothing or for something that is no scalar."""
    needs: dict[str, int] = {}
    for resource in shape:
        if resource.type is not ResourceType.SCALAR or not resource.scalar or resource.scalar < 0:
            return None
        needs[resource.name] = needs.get(resource.name, 0) + resource.scalar
    return needs or None
