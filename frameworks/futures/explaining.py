"""What cannot be pickled, said so that it can be found: function or argument, with the path to it."""

from collections.abc import Callable
from typing import Any

from mesolite.executors.python.explain import explain, refusal

from .errors import NotPicklable
from .pickling import dumps, name_of


def not_picklable(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> NotPicklable:
    """Name the part of a call that does not travel."""
    parts: list[tuple[str, object]] = [(f"argument {position}", each) for position, each in enumerate(args)]
    parts += [(f"argument {name!r}", each) for name, each in kwargs.items()]
    parts.insert(0, ("the function", function))
    for part, value in parts:
        if refusal(value, dumps) is not None:
            found = NotPicklable(f"{name_of(function)}: cannot be pickled: {explain(value, part, dumps)}")
            found.__cause__ = error
            return found
    whole = NotPicklable(f"{name_of(function)}: cannot be pickled: {error}")
    whole.__cause__ = error
    return whole
