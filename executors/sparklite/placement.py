"""Puts keys and values where the keys belong: the innermost loop of every shuffle's map side.

Pairs are taken apart at once: thousands of tuples that are kept for a while cost the garbage collector more than this loop.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from .hashing import portable_hash
from .plain_functions import is_same
from .ranges import RangePartition

#: Hashed by Python as `portable_hash` hashes them: the call is saved. Exact types: subclasses may be tuples.
_PLAIN: Final = frozenset((str, int, bytes, float, bool))

Append = Callable[[Any], None]
#: Appends the key and the value of each pair to the lists of one partition, given by their `append`.
Place = Callable[[Iterable[Any], Sequence[Append], Sequence[Append]], None]


def place_by(partition_of: Callable[[Any], int]) -> Place:
    """The loop for a function that names a key's partition."""
    if partition_of is portable_hash:
        return _by_hash
    if isinstance(partition_of, RangePartition):
        return _by_range(partition_of)

    def by_function(pairs: Iterable[Any], keys: Sequence[Append], values: Sequence[Append]) -> None:
        count = len(keys)
        for key, value in pairs:
            partition = partition_of(key) % count
            keys[partition](key)
            values[partition](value)

    return by_function


def _by_hash(pairs: Iterable[Any], keys: Sequence[Append], values: Sequence[Append]) -> None:
    count, plain = len(keys), _PLAIN
    for key, value in pairs:
        partition = (hash(key) if type(key) in plain else portable_hash(key)) % count
        keys[partition](key)
        values[partition](value)


def _by_range(ranges: RangePartition) -> Place:
    """What `RangePartition` says, without a call of it for each key."""
    bounds, mark_of, ascending = ranges.bounds, ranges.key, ranges.ascending
    keys_are_marks, last = is_same(mark_of), len(ranges.bounds)

    def by_range(pairs: Iterable[Any], keys: Sequence[Append], values: Sequence[Append]) -> None:
        for key, value in pairs:
            place = bisect_left(bounds, key if keys_are_marks else mark_of(key))
            if not ascending:
                place = last - place
            keys[place](key)
            values[place](value)

    return by_range
