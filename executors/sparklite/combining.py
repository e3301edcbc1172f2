"""Loops that combine the values of each key in a dictionary: what word counts and group-bys spend their time in.

The dictionary keeps keys in the order in which they came first. Addition, which most programs combine with, and groups
have loops of their own that save the call for each pair.
"""

from collections.abc import Callable, Iterable
from typing import Any

from .pair_steps import appended, listed
from .plain_functions import adds, is_same
from .shuffle_data import Aggregator

#: Takes pairs into a dictionary.
Combine = Callable[[dict[Any, Any], Iterable[Any]], None]


def combine_values(aggregator: Aggregator) -> Combine:
    """The loop for values as they are."""
    if is_same(aggregator.create):
        return _merging(aggregator.merge_value)
    if aggregator.create is listed and aggregator.merge_value is appended:
        return _append
    create, merge = aggregator.create, aggregator.merge_value

    def combine(combined: dict[Any, Any], pairs: Iterable[Any]) -> None:
        for key, value in pairs:
            if key in combined:
                combined[key] = merge(combined[key], value)
            else:
                combined[key] = create(value)

    return combine


def combine_combiners(aggregator: Aggregator) -> Combine:
    """The loop for what was combined already."""
    return _merging(aggregator.merge_combiners)


def _merging(merge: Callable[[Any, Any], Any]) -> Combine:
    if adds(merge):
        return _add

    def combine(combined: dict[Any, Any], pairs: Iterable[Any]) -> None:
        for key, value in pairs:
            if key in combined:
                combined[key] = merge(combined[key], value)
            else:
                combined[key] = value

    return combine


def _add(combined: dict[Any, Any], pairs: Iterable[Any]) -> None:
    for key, value in pairs:
        if key in combined:
            # Not `+=`: a list that came in is somebody's.
            combined[key] = combined[key] + value
        else:
            combined[key] = value


def _append(combined: dict[Any, Any], pairs: Iterable[Any]) -> None:
    for key, value in pairs:
        if key in combined:
            combined[key].append(value)
        else:
            combined[key] = [value]
