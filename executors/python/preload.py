"""What a framework has the zygote load before workers are forked, so that they begin with it, and share its memory.

The executor's environment names a module of the bundle. Its function `preload` is called once in the zygote, before that serves,
and returns what is to happen in workers. Such workers are kept as a call left them: that what was loaded is still there, threads
and connections included, is why they were told to load it.
"""

import contextlib
import importlib
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: Names the module.
VARIABLE: Final = "MESOLITE_PRELOAD"
#: Its function.
FUNCTION: Final = "preload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a preloaded module does in workers, in place of `Hygiene`. Nothing of it raises."""

    #: In a new worker, before its first call; what it prints is the executor's output.
    begin: Callable[[], None]
    #: After each call: why the worker is to end now, "" where it stays.
    after_call: Callable[[], str]
    #: Before the worker ends, where it is not killed; may take END_GRACE_MS (crew.py).
    end: Callable[[], None]


def wanted() -> str:
    """Name the module that this executor is to load; empty for none."""
    return os.environ.get(VARIABLE, "")


def preload() -> Hooks | None:
    """Load what is wanted; None where that is nothing, or cannot be: the first call will meet the reason again, and tell it."""
    name = wanted()
    if not name:
        return None
    try:
        found: object = getattr(importlib.import_module(name), FUNCTION)()
    # What it imports may be anything.
    except BaseException:  # noqa: BLE001
        say(f"{name} cannot be loaded before workers are forked:\n{traceback.format_exc()}")
        return None
    return found if isinstance(found, Hooks) else None


def say(text: str) -> None:
    """Tell whoever reads what the executor writes; an executor whose output goes nowhere goes on."""
    with contextlib.suppress(OSError):
        os.write(2, f"mesolite: {text}\n".encode(errors="replace"))
