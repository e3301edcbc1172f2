"""Whether values can be changed, and how much memory they take: for objects that several jobs share."""

from collections.abc import Iterable, Sequence
from itertools import chain
from sys import getsizeof
from typing import Any, Final, cast

#: Exactly these types: a subclass may have attributes, which can be changed.
_ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes, range, type(Ellipsis)})
_CONTAINERS: Final = frozenset({tuple, frozenset})
#: Tuples in tuples in tuples: beyond it nothing is proved.
_MAX_DEPTH: Final = 6


def is_immutable(values: Iterable[Any]) -> bool:
    """Whether nothing in these values can be changed; False where that cannot be seen."""
    for _ in range(_MAX_DEPTH):
        held = cast("Sequence[Any]", values if isinstance(values, list | tuple) else list(values))
        types = set(map(type, held))
        if types <= _ATOMS:
            return True
        if not types <= _ATOMS | _CONTAINERS:
            return False
        # Most often all are tuples, which go in C.
        inner = [each for each in held if type(each) in _CONTAINERS] if types & _ATOMS else held
        values = list(chain.from_iterable(inner))
    return False


def deep_size(value: Any, depth: int = _MAX_DEPTH) -> int:
    """About how many bytes a value takes, with what is in it."""
    size = getsizeof(value)
    if type(value) in _CONTAINERS and depth:
        size += sum(deep_size(each, depth - 1) for each in cast("Iterable[Any]", value))
    return size
