"""How a test waits for the real world: look again and again, give up at a deadline, and say what was seen last."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

LOOK_EVERY_S = 0.02

ValueT = TypeVar("ValueT")


def eventually(look: Callable[[], ValueT], *, within_s: float = 15.0) -> ValueT:
    """Return the first truthy value of `look`; fail at the deadline with the last one."""
    deadline_s = time.monotonic() + within_s
    pause = threading.Event()
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {within_s} s; seen last: {seen!r}")
        pause.wait(LOOK_EVERY_S)
