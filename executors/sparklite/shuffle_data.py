"""What a shuffle is, and what one task of it left behind: plain values that travel between driver and workers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .blocks import StoredBlock


@dataclass(frozen=True, slots=True)
class Aggregator:
    """How values of one key are combined (`combineByKey`)."""

    create: Callable[[Any], Any]
    merge_value: Callable[[Any, Any], Any]
    merge_combiners: Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class ShuffleSpec:
    """What the map side of a shuffle does with its pairs."""

    shuffle_id: int
    #: How many reduce partitions there are.
    partitions: int
    #: The partition of a key, taken modulo `partitions`.
    partition_of: Callable[[Any], int]
    #: Combines on both sides; None: pairs go as they are, in the order of the map partition.
    aggregator: Aggregator | None = None
    #: Combine before writing (PySpark's `mapSideCombine`). With False the reduce side alone does.
    map_side_combine: bool = True
    compress: bool = True


class MapOutput(NamedTuple):
    """One map task's output: a block with a segment for each reduce partition, in order. Empty segments take no bytes."""

    block: StoredBlock
    #: Where segment i begins is offsets[i], where it ends offsets[i + 1]: partitions + 1 numbers.
    offsets: tuple[int, ...]
    #: Pairs in each segment.
    counts: tuple[int, ...]


class Segment(NamedTuple):
    """What one reduce task reads of one map task's output."""

    shuffle_id: int
    map_partition: int
    block: StoredBlock
    offset: int
    length: int
    #: Pairs in it.
    pairs: int


class FetchFailed(Exception):
    """A map output cannot be had: the map task has to run again."""

    def __init__(self, segment: Segment, reason: str) -> None:
        super().__init__(
            f"shuffle {segment.shuffle_id}: output of map partition {segment.map_partition} is lost: {reason}"
        )
        self.segment = segment
        self.reason = reason
