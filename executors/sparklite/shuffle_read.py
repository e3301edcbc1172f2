"""The reduce side of a shuffle."""

import pickle
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .blocks import BlockLost
from .shuffle_data import FetchFailed, Segment

if TYPE_CHECKING:
    from .nodes import ShuffleRead
    from .task import Task


def read_shuffle(node: "ShuffleRead", segments: tuple[Segment, ...], task: "Task") -> Iterator[Any]:
    """Return the pairs of one reduce partition: combined where there is an aggregator, in order where there is one."""
    pairs = _pairs(segments, task)
    aggregator = node.spec.aggregator
    if aggregator is not None:
        combined: dict[Any, Any] = {}
        for key, value in pairs:
            if not node.spec.map_side_combine:
                known = key in combined
                combined[key] = aggregator.merge_value(combined[key], value) if known else aggregator.create(value)
            elif key in combined:
                combined[key] = aggregator.merge_combiners(combined[key], value)
            else:
                combined[key] = value
        pairs = iter(combined.items())
    order = node.order
    if order is not None:
        pairs = iter(sorted(pairs, key=lambda pair: order(pair[0]), reverse=node.descending))
    return pairs


def _pairs(segments: tuple[Segment, ...], task: "Task") -> Iterator[Any]:
    for segment in segments:
        if segment.length:
            try:
                data = task.blocks.read(segment.block, segment.offset, segment.length)
            except BlockLost as lost:
                task.fetch_failed = FetchFailed(segment, str(lost))
                raise task.fetch_failed from lost
            yield from pickle.loads(zlib.decompress(data))
