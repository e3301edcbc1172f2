"""The map side of a shuffle."""

import pickle
import zlib
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from .shuffle_data import MapOutput, ShuffleSpec

if TYPE_CHECKING:
    from .task import Task


def write_shuffle(items: Iterator[Any], spec: ShuffleSpec, task: "Task") -> MapOutput:
    """Write the pairs of one map partition to the store, a segment for each reduce partition."""
    if spec.aggregator is not None and spec.map_side_combine:
        combined: dict[Any, Any] = {}
        merge, create = spec.aggregator.merge_value, spec.aggregator.create
        for key, value in items:
            combined[key] = merge(combined[key], value) if key in combined else create(value)
        items = iter(combined.items())
    buckets: list[list[Any]] = [[] for _ in range(spec.partitions)]
    for pair in items:
        buckets[spec.partition_of(pair[0]) % spec.partitions].append(pair)
    parts = [zlib.compress(pickle.dumps(bucket, 5), 1) if bucket else b"" for bucket in buckets]
    name = f"shuffle-{task.spec.app_id}-{spec.shuffle_id}-{task.spec.partition}-{task.spec.task_id}"
    block = task.blocks.put(name, b"".join(parts))
    offsets = (0, *accumulate(len(part) for part in parts))
    return MapOutput(block, offsets, tuple(len(bucket) for bucket in buckets))
