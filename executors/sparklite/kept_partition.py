"""A persisted partition on its way into a block: frames of items (frames.py), with what is beyond some megabytes in a file."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from .blocks import BlockLost, BlockPart, StoredBlock, TaskBlocks
from .counters import Counters
from .frames import encode_frame
from .spill_file import SpillFile

#: What a frame should have: large enough for columns to pay, small enough to be held beside everything else.
_FRAME_BYTES: Final = 512 * 1024
_FIRST_ITEMS: Final = 64
_MAX_ITEMS: Final = 65_536
#: Frames from the one to the next at most so many times as many items: they may be larger than those before.
_GROWTH: Final = 4
#: What is held in memory until it goes to the file, or to the store.
_HELD_BYTES: Final = 4 * 1024 * 1024


class PartitionWriter:
    """Writes one partition. To be closed.

    Args:
        compress: Compress frames.
    """

    def __init__(self, *, compress: bool) -> None:
        self._compress: Final = compress
        # Of its own: what is kept was not put aside for want of memory.
        self._file: Final = SpillFile(Counters())
        self._parts: Final[list[BlockPart]] = []
        self._frames: list[bytes] = []
        self._frames_bytes = 0
        #: Why it cannot be kept: the disk is full.
        self._trouble: OSError | None = None

    def batches(self, items: Iterable[Any]) -> Iterator[list[Any]]:
        """Yield the items in batches, each of them written before.

        Raises:
            Exception: Some item cannot be pickled.
        """
        source, count = iter(items), _FIRST_ITEMS
        while batch := list(islice(source, count)):
            size = self._write(batch)
            count = min(max(1, count * _FRAME_BYTES // max(1, size)), count * _GROWTH, _MAX_ITEMS)
            yield batch

    def _write(self, batch: Sequence[Any]) -> int:
        frame, size_bytes = encode_frame(batch, batch, compress=self._compress)
        if self._trouble is None:
            self._frames.append(frame)
            self._frames_bytes += len(frame)
            if self._frames_bytes > _HELD_BYTES:
                self._put_aside()
        return size_bytes

    def _put_aside(self) -> None:
        try:
            self._parts.append(self._file.write(self._frames))
        except OSError as error:
            self._trouble = error
            self.close()
        self._frames, self._frames_bytes = [], 0

    def store(self, name: str, blocks: TaskBlocks) -> StoredBlock:
        """Put all that was written into the store, as one block.

        Raises:
            BlockLost: The store does not take it, or the disk was full before.
        """
        if self._trouble is not None:
            raise BlockLost(f"block {name} cannot be stored: {self._trouble}")
        return blocks.put_parts(name, [*self._parts, *self._frames])

    def close(self) -> None:
        """Forget everything."""
        self._parts.clear()
        self._file.close()
