"""What cannot be pickled, said so that it can be found: function or argument, with the path to it."""

from collections.abc import Callable
from typing import Any

from .errors import NotPicklable
from .pickling import dumps, name_of


def not_picklable(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> NotPicklable:
    """Name the part of a call that does not travel."""
    parts: list[tuple[str, object]] = [("the function", function)]
    parts += [(f"argument {position}", each) for position, each in enumerate(args)]
    parts += [(f"argument {name!r}", each) for name, each in kwargs.items()]
    for part, value in parts:
        try:
            dumps(value)
        except Exception as reason:  # noqa: BLE001 - pickling runs the code of whatever is pickled
            found = NotPicklable(f"{part} of the call {name_of(function)} cannot be pickled: {reason}")
            found.__cause__ = reason
            return found
    whole = NotPicklable(f"the call of {name_of(function)} cannot be pickled: {error}")
    whole.__cause__ = error
    return whole
