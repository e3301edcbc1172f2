"""Blocks in a directory: what the local backend and tests use instead of an agent's store."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile
from typing import Final

from .blocks import BlockLost, StoredBlock

_PIECE_BYTES: Final = 1024 * 1024


class DirectoryBlocks:
    """See `TaskBlocks`. Each directory stands for an agent; blocks of others are read where they lie."""

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
        path = self._directory / block_id
        try:
            path.write_bytes(data)
        except OSError as error:
            raise BlockLost(f"block {block_id} cannot be stored in {self._directory}: {error}") from error
        return StoredBlock(block_id, len(data), str(path), self._agent_id)

    def put_file(self, block_id: str, path: Path) -> StoredBlock:
        """See `TaskBlocks`."""
        target = self._directory / block_id
        try:
            copyfile(path, target)
        except OSError as error:
            raise BlockLost(f"block {block_id} cannot be stored in {self._directory}: {error}") from error
        return StoredBlock(block_id, target.stat().st_size, str(target), self._agent_id)

    def read(self, block: StoredBlock, offset: int = 0, length: int | None = None) -> bytes:
        """See `TaskBlocks`."""
        return b"".join(self.stream(block, offset, length))

    def stream(self, block: StoredBlock, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `TaskBlocks`."""
        left = block.size_bytes - offset if length is None else length
        try:
            with Path(block.url).open("rb") as file:
                file.seek(offset)
                while left > 0:
                    piece = file.read(min(left, _PIECE_BYTES))
                    if not piece:
                        raise BlockLost(f"block {block.block_id} ends {left} bytes early")
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise BlockLost(f"block {block.block_id} cannot be read: {error}") from error
