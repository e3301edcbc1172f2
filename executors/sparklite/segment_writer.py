"""Pairs on their way into segments, one for each partition: in lists, then as frames, then put aside on disk.

Lists become a frame when they are long enough. Frames are held until they are many, then put aside all together; a segment is its
frames in the order in which they were made, so pairs of a partition keep theirs.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from .blocks import BlockPart
from .frames import encode_frame
from .memory_budget import MemoryBudget
from .pair_errors import explain_no_pair
from .placement import Place
from .spill_file import SpillFile

#: A frame's bytes, about: enough for a compressor to learn, little enough for many to be open at once.
FRAME_BYTES: Final = 256 * 1024
#: A list this long becomes a frame, however small its pairs are.
_MAX_FRAME_PAIRS: Final = 32_768
#: Until the first frame tells how large pairs are.
_FIRST_FRAME_PAIRS: Final = 16
#: Frames are held up to here, or up to a quarter of the budget.
_MAX_HELD_BYTES: Final = 64 * 1024 * 1024
#: A list has a list's own size, even if it is short.
_MIN_FRAME_BYTES: Final = 4096


class SegmentWriter:
    """Takes pairs, gives the parts of each segment.

    Args:
        partitions: How many segments.
        place: Which pair goes where.
        budget: How much may be held in memory.
        compress: Whether frames are compressed where it pays.
        spill: Where frames are put aside; the caller's to close.
    """

    def __init__(
        self, partitions: int, place: Place, budget: MemoryBudget, spill: SpillFile, *, compress: bool = True
    ) -> None:
        self._place: Final = place
        self._budget: Final = budget
        self._compress: Final = compress
        self._spill: Final = spill
        #: Keys and values of each partition that are in no frame yet.
        self._keys: Final[list[list[Any]]] = [[] for _ in range(partitions)]
        self._values: Final[list[list[Any]]] = [[] for _ in range(partitions)]
        self._to_keys: Final = [each.append for each in self._keys]
        self._to_values: Final = [each.append for each in self._values]
        #: Frames of each partition that are in memory, and those that are not.
        self._frames: Final[list[list[bytes]]] = [[] for _ in range(partitions)]
        self._aside: Final[list[list[BlockPart]]] = [[] for _ in range(partitions)]
        self._held_bytes = 0
        self._max_held_bytes: Final = min(_MAX_HELD_BYTES, budget.budget_bytes // 4)
        self._frame_bytes: Final = min(FRAME_BYTES, max(_MIN_FRAME_BYTES, budget.budget_bytes // 64))
        self._frame_pairs = _FIRST_FRAME_PAIRS
        #: Pairs of each partition so far.
        self.counts: Final = [0] * partitions

    def write(self, pairs: Iterator[Any]) -> None:
        """Take pairs that come about now, and look at memory.

        Raises:
            TypeError: An item is nothing that can be taken apart, or a key cannot be hashed.
            ValueError: An item has more or fewer than two parts.
            Exception: One cannot be pickled.
        """
        budget = self._budget
        for pair in pairs:
            self._take(chain((pair,), islice(pairs, budget.chunk_items - 1)))
            if budget.over():
                self.put_aside()
                budget.relieved()

    def write_held(self, pairs: Iterator[Any]) -> None:
        """Take pairs that somebody holds anyway: memory is not looked at, and grows by frames alone. Raises as `write`."""
        for pair in pairs:
            self._take(chain((pair,), islice(pairs, _MAX_FRAME_PAIRS - 1)))

    def put_aside(self) -> None:
        """Put everything aside that is in memory."""
        self._frame_all(1)
        self._put_frames_aside()

    def parts(self) -> list[list[BlockPart]]:
        """Return the parts of each segment; nothing more is taken."""
        self._frame_all(1)
        return [[*aside, *frames] for aside, frames in zip(self._aside, self._frames, strict=True)]

    def _take(self, pairs: Iterable[Any]) -> None:
        try:
            self._place(pairs, self._to_keys, self._to_values)
        except (TypeError, ValueError) as error:
            explain_no_pair(error)
            raise
        self._frame_all(self._frame_pairs)

    def _frame_all(self, from_pairs: int) -> None:
        for partition, keys in enumerate(self._keys):
            if len(keys) >= from_pairs:
                self._frame(partition, keys, self._values[partition])
        if self._held_bytes > self._max_held_bytes:
            self._put_frames_aside()

    def _frame(self, partition: int, keys: list[Any], values: list[Any]) -> None:
        begin = 0
        while begin < len(keys):
            end = min(len(keys), begin + self._frame_pairs)
            frame, plain_bytes = encode_frame(keys[begin:end], values[begin:end], compress=self._compress)
            self._frames[partition].append(frame)
            self._held_bytes += len(frame)
            self._frame_pairs = max(1, min(_MAX_FRAME_PAIRS, self._frame_bytes * (end - begin) // plain_bytes))
            begin = end
        self.counts[partition] += len(keys)
        keys.clear()
        values.clear()

    def _put_frames_aside(self) -> None:
        for aside, frames in zip(self._aside, self._frames, strict=True):
            if frames:
                aside.append(self._spill.write(frames))
                frames.clear()
        self._held_bytes = 0
