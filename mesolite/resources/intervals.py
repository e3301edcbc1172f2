"""Arithmetic of closed intervals of unsigned 64-bit integers: what ports are made of.

A value is a tuple of `(begin, end)` pairs, sorted, disjoint and coalesced: neighbours that touch are one, so [4-6] and
[7-8] together are [4-8]. That form is unique, hence two values are equal exactly where they hold the same integers. Every
function takes and returns values of that form, except `coalesce`, which makes it. Each is linear in its input.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

Intervals: TypeAlias = tuple[tuple[int, int], ...]

#: The largest integer in a range: ranges are of uint64 (mesos.proto `Value.Range`).
MAX_RANGE_VALUE: Final = 2**64 - 1


def coalesce(pairs: Iterable[tuple[int, int]]) -> Intervals:
    """Bring pairs in any order, overlapping or not, into the unique form."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(pairs):
        assert begin <= end, f"the interval [{begin}-{end}] ends before it begins"
        if merged and begin <= merged[-1][1] + 1:
            last_begin, last_end = merged[-1]
            merged[-1] = (last_begin, max(last_end, end))
        else:
            merged.append((begin, end))
    return tuple(merged)


def union(left: Intervals, right: Intervals) -> Intervals:
    """The integers in either."""
    return coalesce(left + right)


def contains(left: Intervals, right: Intervals) -> bool:
    """Tell whether every integer of `right` is in `left`."""
    position = 0
    for begin, end in right:
        while position < len(left) and left[position][1] < begin:
            position += 1
        # `left` is coalesced, so an interval that is inside it is inside one of its intervals.
        if position == len(left) or not (left[position][0] <= begin and end <= left[position][1]):
            return False
    return True


def difference(left: Intervals, right: Intervals) -> Intervals:
    """The integers of `left` that are not in `right`."""
    rest: list[tuple[int, int]] = []
    position = 0
    for begin, end in left:
        while position < len(right) and right[position][1] < begin:
            position += 1
        cut = position
        while cut < len(right) and right[cut][0] <= end:
            if begin < right[cut][0]:
                rest.append((begin, right[cut][0] - 1))
            begin = right[cut][1] + 1
            cut += 1
        if begin <= end:
            rest.append((begin, end))
    return tuple(rest)


def count(intervals: Intervals) -> int:
    """How many integers there are."""
    return sum(end - begin + 1 for begin, end in intervals)
