"""Where tasks and signal handlers write what happened, for tests to read: Redis, at `app.conf.parity_board`."""

from functools import cache
from typing import Any

from celery import current_app
from redis import Redis

SIGNALS = "parity:signals"
#: A task that waits for a test gives up after so long.
PATIENCE_S = 30


def board() -> Any:
    """Return the board of the application that runs."""
    app: Any = current_app
    return _board(app.conf.parity_board)


@cache
def _board(url: str) -> Any:
    return Redis.from_url(url, decode_responses=True, socket_timeout=2 * PATIENCE_S)


def note(key: str, word: str) -> None:
    """Append a word to a list."""
    board().rpush(f"parity:notes:{key}", word)


def count(key: str) -> int:
    """Count up, and return how far."""
    return int(board().incr(f"parity:count:{key}"))


def wait_at(gate: str) -> str:
    """Say that one is there, and wait until a test opens the gate."""
    board().rpush(f"parity:waiting:{gate}", "here")
    opened = board().blpop([f"parity:open:{gate}"], timeout=PATIENCE_S)
    return str(opened[1]) if opened else "nobody came"
