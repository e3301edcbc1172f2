"""How long a framework's stream may be: so many batches, and no more bytes than Redis has room for.

What a scheduler has read stays in its stream until newer batches push it out, which by their number alone
(MAX_FRAMEWORK_LENGTH) could be tens of gigabytes where updates carry results. So the sizes of the newest are counted, in blocks,
since one by one they would be ten thousand numbers for each framework.
"""

from collections import deque
from typing import Final

from mesolite.transport.keys import MAX_FRAMEWORK_LENGTH

#: Bytes of one framework's newest batches: seconds of results at the fastest, and small beside a Redis.
MAX_FRAMEWORK_BYTES: Final = 256 * 1024 * 1024
#: Of one block.
_BLOCK_BYTES: Final = MAX_FRAMEWORK_BYTES // 64


class Backlogs:
    """The sizes of frameworks' streams, as far as this master has written them."""

    def __init__(self) -> None:
        #: By stream: [batches, bytes] of each block, the oldest first.
        self._blocks: Final[dict[str, deque[list[int]]]] = {}

    def length(self, stream: str, size: int) -> int:
        """Return to how many batches a stream is to be trimmed when one of this size is appended."""
        blocks = self._blocks.setdefault(stream, deque())
        if not blocks or blocks[-1][1] + size > _BLOCK_BYTES:
            blocks.append([0, 0])
        blocks[-1][0] += 1
        blocks[-1][1] += size
        kept, total = 0, 0
        for position in reversed(range(len(blocks))):
            batches, in_bytes = blocks[position]
            # The newest block stays, however large.
            too_large = total + in_bytes > MAX_FRAMEWORK_BYTES
            if kept and (too_large or kept + batches > MAX_FRAMEWORK_LENGTH):
                for _ in range(position + 1):
                    blocks.popleft()
                return kept if too_large else MAX_FRAMEWORK_LENGTH
            kept, total = kept + batches, total + in_bytes
        return MAX_FRAMEWORK_LENGTH

    def forget(self, stream: str) -> None:
        """A stream is deleted."""
        self._blocks.pop(stream, None)
