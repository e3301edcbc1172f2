"""Which blocks there are, whose, how large, and which go first: the accounting of the store, without a disk.

The store has one bound for all frameworks. Over it the framework that holds most gives up what it has not used for longest, until
the newcomer fits: so a framework that stores much displaces its own blocks, and not those of one that stores little.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from mesolite.ids import FrameworkId

#: What a block takes beside its bytes: its inode, and the rest of its last page.
OVERHEAD_BYTES: Final = 4096
#: Blocks of all frameworks: the index takes some 300 bytes of memory for each.
MAX_BLOCKS: Final = 200_000


@dataclass(slots=True)
class _Share:
    """What one framework holds."""

    #: Size of each block by its id, the least recently used first.
    blocks: OrderedDict[str, int] = field(default_factory=OrderedDict[str, int])
    #: Of the blocks, and of those that are still coming.
    bytes: int = 0
    #: Of those that are still coming.
    coming_bytes: int = 0


class BlockIndex:
    """The books of one store."""

    def __init__(self, max_bytes: int, *, max_blocks: int = MAX_BLOCKS) -> None:
        self.max_bytes: Final = max_bytes
        self._max_blocks: Final = max_blocks
        self._shares: Final[dict[FrameworkId, _Share]] = {}
        #: Sum of the shares.
        self.used_bytes = 0
        self.count = 0

    def frameworks(self) -> list[FrameworkId]:
        """Those that hold something, or are about to."""
        return sorted(self._shares)

    def used_by(self, framework_id: FrameworkId) -> int:
        """How much a framework holds, with what it is about to."""
        share = self._shares.get(framework_id)
        return share.bytes if share is not None else 0

    def reserve(self, framework_id: FrameworkId, size_bytes: int) -> list[tuple[FrameworkId, str]] | None:
        """Set room aside for a block that is coming.

        Returns:
            The blocks that have to go for it, which are out of the books; None where it cannot fit whatever goes.
        """
        cost = size_bytes + OVERHEAD_BYTES
        coming_bytes = sum(share.coming_bytes for share in self._shares.values())
        if coming_bytes + cost > self.max_bytes:
            return None
        self._take(framework_id, cost, coming=cost)
        evicted: list[tuple[FrameworkId, str]] = []
        while self.used_bytes > self.max_bytes or self.count >= self._max_blocks:
            largest = max((each for each in self._shares if self._shares[each].blocks), key=self._weight)
            block_id = next(iter(self._shares[largest].blocks))
            self.remove(largest, block_id)
            evicted.append((largest, block_id))
        return evicted

    def release(self, framework_id: FrameworkId, size_bytes: int) -> None:
        """Give back room that was set aside."""
        cost = size_bytes + OVERHEAD_BYTES
        self._take(framework_id, -cost, coming=-cost)

    def add(self, framework_id: FrameworkId, block_id: str, size_bytes: int) -> None:
        """A block is there, in the room that was set aside for it; one of the same name is replaced."""
        self.remove(framework_id, block_id)
        share = self._shares[framework_id]
        share.blocks[block_id] = size_bytes
        share.coming_bytes -= size_bytes + OVERHEAD_BYTES
        self.count += 1

    def use(self, framework_id: FrameworkId, block_id: str) -> int | None:
        """Note that a block was used; returns its size, None where there is none."""
        share = self._shares.get(framework_id)
        if share is None or block_id not in share.blocks:
            return None
        share.blocks.move_to_end(block_id)
        return share.blocks[block_id]

    def remove(self, framework_id: FrameworkId, block_id: str) -> bool:
        """Take a block out; false where there is none."""
        share = self._shares.get(framework_id)
        size_bytes = share.blocks.pop(block_id, None) if share is not None else None
        if size_bytes is None:
            return False
        self.count -= 1
        self._take(framework_id, -size_bytes - OVERHEAD_BYTES)
        return True

    def remove_all(self, framework_id: FrameworkId) -> None:
        """Take out all blocks of a framework; those that are coming still come."""
        share = self._shares.get(framework_id)
        for block_id in list(share.blocks) if share is not None else ():
            self.remove(framework_id, block_id)

    def check(self) -> None:
        """Assert that the books add up."""
        assert self.used_bytes == sum(share.bytes for share in self._shares.values()), "shares add up"
        assert self.count == sum(len(share.blocks) for share in self._shares.values()), "blocks are counted"
        for framework_id, share in self._shares.items():
            stored_bytes = sum(share.blocks.values()) + OVERHEAD_BYTES * len(share.blocks)
            assert share.bytes == stored_bytes + share.coming_bytes, f"{framework_id!r} pays for what it holds"
            assert share.bytes > 0, f"{framework_id!r} is listed because it holds something"

    def _weight(self, framework_id: FrameworkId) -> tuple[int, FrameworkId]:
        return self._shares[framework_id].bytes, framework_id

    def _take(self, framework_id: FrameworkId, bytes_more: int, *, coming: int = 0) -> None:
        share = self._shares.setdefault(framework_id, _Share())
        share.bytes += bytes_more
        share.coming_bytes += coming
        self.used_bytes += bytes_more
        if not share.bytes:
            del self._shares[framework_id]
