"""Where in the user's program an operation was called: what people find a stage by."""

import inspect
from pathlib import Path
from types import FrameType
from typing import Final

_OWN: Final = str(Path(__file__).parent)


def call_site(name: str | None = None) -> str:
    """Return `reduceByKey at app.py:12`: the public method that was called, and the line of the program that called it.

    Args:
        name: The operation's name, where it is known better.
    """
    frame: FrameType | None = inspect.currentframe()
    operation = ""
    while frame is not None and frame.f_code.co_filename.startswith(_OWN):
        if not frame.f_code.co_name.startswith(("_", "<")):
            operation = frame.f_code.co_name
        frame = frame.f_back
    where = "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
    return f"{name or operation} at {where}"
