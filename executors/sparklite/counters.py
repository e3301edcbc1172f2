"""What one attempt counts while it runs; its metrics are made of it at the end."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Written by whatever reads and writes for the task; all of this attempt alone."""

    #: Items that came out of shuffles, other leaves, and partitions that are kept.
    items_in: int = 0
    #: Bytes of segments as they lie in blocks, wherever those are.
    shuffle_read_bytes: int = 0
    #: Of those, what other agents sent.
    shuffle_read_remote_bytes: int = 0
    #: Bytes and pairs of the map output.
    shuffle_write_bytes: int = 0
    shuffle_write_items: int = 0
    #: Bytes that were put aside on disk because memory was short.
    spilled_bytes: int = 0
    #: How long the task waited for blocks.
    fetch_wait_ms: float = 0.0
    #: Persisted partitions that were read instead of computed.
    cache_hits: int = 0
