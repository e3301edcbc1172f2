"""Puts pairs where their keys belong: the innermost loop of every shuffle's map side."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from .hashing import portable_hash

#: Hashed by Python as `portable_hash` hashes them: the call is saved. Exact types: subclasses may be tuples.
_PLAIN: Final = frozenset((str, int, bytes, float, bool))

#: Appends each pair to one of the lists, given by their `append`.
Place = Callable[[Sequence[Any], Sequence[Callable[[Any], None]]], None]


def place_by(partition_of: Callable[[Any], int]) -> Place:
    """The loop for a function that names a key's partition."""
    if partition_of is portable_hash:
        return _by_hash

    def by_function(pairs: Sequence[Any], appends: Sequence[Callable[[Any], None]]) -> None:
        count = len(appends)
        for pair in pairs:
            appends[partition_of(pair[0]) % count](pair)

    return by_function


def _by_hash(pairs: Sequence[Any], appends: Sequence[Callable[[Any], None]]) -> None:
    count, plain = len(appends), _PLAIN
    for pair in pairs:
        key = pair[0]
        appends[(hash(key) if type(key) in plain else portable_hash(key)) % count](pair)
