"""What a pool's streams are called, and how long they outlive their last use (docs/executors.md, section 4)."""

from typing import Final

#: A stream that nobody refreshed for so long is nobody's: its client and its executor both died without a word.
KEY_TTL_S: Final = 6 * 3600
#: How often whoever is alive refreshes its streams.
REFRESH_EVERY_MS: Final = 600_000
#: How often a reader trims what it has read. What a stream holds meanwhile is bounded by what may be under way (`link`).
TRIM_EVERY_MS: Final = 50


def calls_key(prefix: str, framework_id: str, executor_id: str) -> str:
    """Return the stream from the client to one executor."""
    return f"{prefix}pool:{framework_id}:{executor_id}:calls"


def results_key(prefix: str, framework_id: str) -> str:
    """Return the stream from a framework's executors to its client."""
    return f"{prefix}pool:{framework_id}:results"
