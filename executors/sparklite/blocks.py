"""Where tasks leave what other tasks read: the block store as tasks see it.

Two implementations pass the same contract suite: the agent's store over HTTP (`agent_blocks.py`), and a directory for the local
backend and tests (`directory_blocks.py`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol


class BlockLost(Exception):
    """A block cannot be had any more, or not now; the text says which, where and why."""


class StoredBlock(NamedTuple):
    """A block, for whoever is to read it. Plain values: it travels in tasks and results."""

    block_id: str
    size_bytes: int
    #: Where other hosts get it: an address with a token, or a path of the local backend.
    url: str
    #: Which agent has it: what locality and losses are about.
    agent_id: str


class FilePart(NamedTuple):
    """Bytes that lie in an open file."""

    file: BinaryIO
    offset: int
    length: int


class BlockRange(NamedTuple):
    """Bytes of a block, at least one."""

    block: StoredBlock
    offset: int
    length: int


#: What a block is put together of.
BlockPart = bytes | FilePart


def size_of(parts: Sequence[BlockPart]) -> int:
    """How many bytes parts are together."""
    return sum(part.length if isinstance(part, FilePart) else len(part) for part in parts)


class TaskBlocks(Protocol):
    """One worker's way to blocks."""

    @property
    def agent_id(self) -> str:
        """Where `put` puts; empty where there is no store."""
        ...

    def put(self, block_id: str, data: bytes) -> StoredBlock:
        """Store bytes; a block of the same name is replaced.

        Raises:
            BlockLost: The store is full, gone or refuses.
        """
        ...

    def put_file(self, block_id: str, path: Path) -> StoredBlock:
        """Store a file's bytes without holding them in memory; the file stays. Raises as `put`."""
        ...

    def put_parts(self, block_id: str, parts: Sequence[BlockPart]) -> StoredBlock:
        """Store what the parts are, one after the other; files are not held in memory, and stay open. Raises as `put`."""
        ...

    def read(self, block: StoredBlock, offset: int = 0, length: int | None = None) -> bytes:
        """Read a part of a block, to its end if no length is given.

        Raises:
            BlockLost: It cannot be had after the tries that make sense.
        """
        ...

    def read_several(self, wanted: Sequence[BlockRange]) -> list[bytes]:
        """Read parts of several blocks, in their order and with few requests; all of them are in memory at once.

        Raises:
            BlockLost: One of them cannot be had. `read` tells which.
        """
        ...

    def stream(self, block: StoredBlock, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """As `read`, in pieces, so that a segment larger than memory can be merged."""
        ...

    def rest(self) -> None:
        """Nothing is read for now: connections are given back."""
        ...
