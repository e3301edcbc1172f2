"""Cutting so many units of a shape out of what a role may be offered.

Reserved resources go first, because nobody else could use them; then plain ones before special ones, in the algebra's order.
Ranges and sets give their lowest elements. Persistent volumes are never cut and never given for an amount of disk.
"""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from mesolite.resources import EMPTY, MILLI, Quantities, Range, Resource, Resources, ResourceType

#: Thousandths by name; ranges and sets count a thousand for each element.
Amounts: TypeAlias = Mapping[str, int]


def carve(candidate: Resources, shape: Amounts, units: int) -> Resources | None:
    """Cut units out.

    Args:
        candidate: What may be given, unstamped.
        shape: Amounts of one unit.
        units: How many.

    Returns:
        The part, or None where the amounts are there but not in pieces that can be cut.
    """
    wanted = {name: amount * units for name, amount in shape.items()}
    part = EMPTY
    rest = candidate
    if reserved := candidate.reserved():
        part = _cut(reserved, wanted)
        rest = candidate.unreserved()
        for name, amount in part.quantities():
            wanted[name] -= amount
    part += _cut(rest, wanted)
    given = part.quantities()
    return part if all(given.get(name) == amount * units for name, amount in shape.items()) else None


def _cut(pool: Resources, wanted: dict[str, int]) -> Resources:
    part = pool.shrink_to(Quantities(wanted))
    short = Quantities(wanted) - part.quantities()
    if not short:
        return part
    pieces: list[Resource] = []
    left = short.as_dict()
    for resource in pool - part:
        count = left.get(resource.name, 0) // MILLI
        if count and resource.type is not ResourceType.SCALAR:
            piece, taken = _lowest(resource, count)
            pieces.append(piece)
            left[resource.name] -= taken * MILLI
    return part + Resources.of(pieces)


def _lowest(resource: Resource, count: int) -> tuple[Resource, int]:
    """The lowest elements of a range or set resource, at most `count`, and how many they are."""
    if resource.set is not None:
        items = resource.set[:count]
        return msgspec.structs.replace(resource, set=items), len(items)
    ranges: list[Range] = []
    taken = 0
    for each in resource.ranges or ():
        if taken == count:
            break
        end = min(each.end, each.begin + count - taken - 1)
        ranges.append(Range(each.begin, end))
        taken += end - each.begin + 1
    return msgspec.structs.replace(resource, ranges=tuple(ranges)), taken
