"""Loads the application into the zygote, and says what its workers do when they begin and end (executors/python/preload.py)."""

import gc

from ..python.preload import Hooks, say
from .entry import ENTRY


def preload() -> Hooks:
    """Load it. Where it cannot be, each task is told."""
    ENTRY.load()
    if ENTRY.why:
        say(ENTRY.why)
    gc.collect()
    return Hooks(begin=ENTRY.begin, after_call=ENTRY.after_call, end=ENTRY.end)
