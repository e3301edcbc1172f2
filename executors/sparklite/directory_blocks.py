"""Blocks in a directory: what the local backend and tests use instead of an agent's store."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from os import pread
from pathlib import Path
from secrets import token_hex
from typing import Final

from .blocks import BlockLost, BlockPart, BlockRange, FilePart, StoredBlock

_PIECE_BYTES: Final = 1024 * 1024


class DirectoryBlocks:
    """See `TaskBlocks`. Each directory stands for an agent; blocks of others are read where they lie, own ones by their name."""

    def __init__(self, directory: Path, agent_id: str = "local") -> None:
        self._directory: Final = directory
        self._agent_id: Final = agent_id
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def agent_id(self) -> str:
        """See `TaskBlocks`."""
        return self._agent_id

    def put(self, block_id: str, data: bytes) -> StoredBlock:
        """See `TaskBlocks`."""
        return self.put_parts(block_id, (data,))

    def put_file(self, block_id: str, path: Path) -> StoredBlock:
        """See `TaskBlocks`."""
        try:
            with path.open("rb") as file:
                return self.put_parts(block_id, (FilePart(file, 0, path.stat().st_size),))
        except OSError as error:
            raise BlockLost(f"block {block_id} cannot be stored: {error}") from error

    def put_parts(self, block_id: str, parts: Sequence[BlockPart]) -> StoredBlock:
        """See `TaskBlocks`. It is there whole or not at all, as in an agent's store."""
        target, draft = self._directory / block_id, self._directory / f"{block_id}.{token_hex(4)}"
        try:
            with draft.open("xb") as file:
                for part in parts:
                    for piece in _pieces(part):
                        file.write(piece)
                size_bytes = file.tell()
            draft.rename(target)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise BlockLost(f"block {block_id} cannot be stored in {self._directory}: {error}") from error
        return StoredBlock(block_id, size_bytes, str(target), self._agent_id)

    def read(self, block: StoredBlock, offset: int = 0, length: int | None = None) -> bytes:
        """See `TaskBlocks`."""
        return b"".join(self.stream(block, offset, length))

    def read_several(self, wanted: Sequence[BlockRange]) -> list[bytes]:
        """See `TaskBlocks`."""
        return [self.read(*each) for each in wanted]

    def stream(self, block: StoredBlock, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `TaskBlocks`."""
        left = block.size_bytes - offset if length is None else length
        try:
            with (Path(block.url) if block.url else self._directory / block.block_id).open("rb") as file:
                file.seek(offset)
                while left > 0:
                    piece = file.read(min(left, _PIECE_BYTES))
                    if not piece:
                        raise BlockLost(f"block {block.block_id} ends {left} bytes early")
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise BlockLost(f"block {block.block_id} cannot be read: {error}") from error

    def rest(self) -> None:
        """See `TaskBlocks`."""


def _pieces(part: BlockPart) -> Iterator[bytes]:
    if isinstance(part, bytes):
        yield part
        return
    at, end = part.offset, part.offset + part.length
    while at < end:
        piece = pread(part.file.fileno(), min(end - at, _PIECE_BYTES), at)
        if not piece:
            raise OSError(f"a file ends {end - at} bytes early")
        at += len(piece)
        yield piece
