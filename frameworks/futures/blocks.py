"""Results that were too large to travel, fetched from the block store of the agent that has them."""

import urllib.error
import urllib.request
from typing import Final

from mesolite.executors.python.calls import BlockRef

from .errors import BlockLost

#: Longest silence of an agent while a block is fetched.
FETCH_TIMEOUT_S: Final = 30.0


def fetch(block: BlockRef) -> bytes:
    """Bring a block here.

    Raises:
        BlockLost: It cannot be had.
    """
    if not block.url.startswith(("http://", "https://")):
        raise BlockLost(f"block {block.block_id} of {block.size_bytes} bytes says no address where it can be had")
    try:
        with urllib.request.urlopen(block.url, timeout=FETCH_TIMEOUT_S) as answer:
            data = bytes(answer.read(block.size_bytes + 1))
    except (urllib.error.URLError, OSError) as error:
        raise BlockLost(f"block {block.block_id} cannot be had from {block.url}: {error}") from error
    if len(data) != block.size_bytes:
        raise BlockLost(f"block {block.block_id} has {len(data)} bytes at {block.url}, and not {block.size_bytes}")
    return data
