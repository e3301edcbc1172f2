"""Loads the application into the zygote, and says what its workers do when they begin and end (executors/python/preload.py)."""

import faulthandler
import gc
from typing import Final

from ..python.preload import Hooks, say
from .entry import ENTRY

#: Longer than large applications take to be imported.
SLOW_AFTER_S: Final = 60.0


def preload() -> Hooks:
    """Load it. Where it cannot be, each task is told; where it takes long, stderr says every minute what it waits for."""
    faulthandler.dump_traceback_later(SLOW_AFTER_S, repeat=True, file=2)
    ENTRY.load()
    faulthandler.cancel_dump_traceback_later()
    if ENTRY.why:
        say(ENTRY.why)
    gc.collect()
    return Hooks(begin=ENTRY.begin, after_call=ENTRY.after_call, end=ENTRY.end)
