"""Pairs on their way into segments, one for each partition: in lists, then as frames, then put aside on disk.

Lists become a frame when they are long enough. Frames are held until they are many, then put aside all together; a segment is its
frames in the order in which they were made, so pairs of a partition keep theirs.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from .blocks import BlockPart
from .frames import encode_frame
from .memory_budget import MemoryBudget
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
        #: Pairs of each partition that are in no frame yet.
        self._lists: Final[list[list[Any]]] = [[] for _ in range(partitions)]
        self._appends: Final = [each.append for each in self._lists]
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
            TypeError: An item is no pair, or a key cannot be hashed.
            Exception: One cannot be pickled.
        """
        budget = self._budget
        for pair in pairs:
            chunk = [pair, *islice(pairs, budget.chunk_items - 1)]
            self._take(chunk)
            del chunk
            if budget.over():
                self.put_aside()
                budget.relieved()

    def write_held(self, pairs: Iterator[Any]) -> None:
        """Take pairs that somebody holds anyway: memory is not looked at, and grows by frames alone. Raises as `write`."""
        for pair in pairs:
            self._take([pair, *islice(pairs, _MAX_FRAME_PAIRS - 1)])
            self._frame_all(1)

    def put_aside(self) -> None:
        """Put everything aside that is in memory."""
        self._frame_all(1)
        self._put_frames_aside()

    def parts(self) -> list[list[BlockPart]]:
        """Return the parts of each segment; nothing more is taken."""
        self._frame_all(1)
        return [[*aside, *frames] for aside, frames in zip(self._aside, self._frames, strict=True)]

    def _take(self, chunk: Sequence[Any]) -> None:
        try:
            self._place(chunk, self._appends)
        except (TypeError, IndexError, KeyError):
            _check_pairs(chunk)
            raise
        self._frame_all(self._frame_pairs)

    def _frame_all(self, from_pairs: int) -> None:
        for partition, pairs in enumerate(self._lists):
            if len(pairs) >= from_pairs:
                self._frame(partition, pairs)
        if self._held_bytes > self._max_held_bytes:
            self._put_frames_aside()

    def _frame(self, partition: int, pairs: list[Any]) -> None:
        plain_bytes = 0
        for begin in range(0, len(pairs), self._frame_pairs):
            keys, values = _columns(pairs[begin : begin + self._frame_pairs])
            frame, size_bytes = encode_frame(keys, values, compress=self._compress)
            self._frames[partition].append(frame)
            self._held_bytes += len(frame)
            plain_bytes += size_bytes
        self.counts[partition] += len(pairs)
        self._frame_pairs = max(1, min(_MAX_FRAME_PAIRS, self._frame_bytes * len(pairs) // plain_bytes))
        pairs.clear()

    def _put_frames_aside(self) -> None:
        for aside, frames in zip(self._aside, self._frames, strict=True):
            if frames:
                aside.append(self._spill.write(frames))
                frames.clear()
        self._held_bytes = 0


def _columns(pairs: list[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    try:
        keys, values = zip(*pairs, strict=True)
    except (TypeError, ValueError):
        _check_pairs(pairs)
        raise
    return keys, values


def _check_pairs(items: Sequence[Any]) -> None:
    """Name the first item that is no pair.

    Raises:
        TypeError: There is one.
    """
    for item in items:
        try:
            _key, _value = item
        except (TypeError, ValueError):
            shown = repr(item)[:100]
            raise TypeError(
                f"an operation by key needs pairs (key, value); one item is a {type(item).__name__}: {shown}"
            ) from None
