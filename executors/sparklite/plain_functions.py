"""Recognizes functions of users that do what C can do as well: the sum of two arguments, the argument itself.

Told by their code, which then is the same byte for byte. Most programs combine by a sum and sort by the item, and the call is
most of the time that such a pair takes.
"""

import operator
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, Final

from .steps import same

#: A function in a function is marked as nested, and does the same.
_CO_NESTED: Final = 0x10


def _sum(left: Any, right: Any) -> Any:
    return left + right


def adds(function: Callable[[Any, Any], Any]) -> bool:
    """Whether a function does nothing but return the sum of its two arguments: `operator.add`, or `lambda a, b: a + b`."""
    return function is operator.add or _has_code(function, _sum.__code__)


def is_same(function: Callable[[Any], Any]) -> bool:
    """Whether a function returns its one argument: `same`, or `lambda x: x`."""
    return function is same or _has_code(function, same.__code__)


def _has_code(function: Callable[..., Any], wanted: CodeType) -> bool:
    if type(function) is not FunctionType:
        return False
    code = function.__code__
    return (
        code.co_code == wanted.co_code
        and code.co_argcount == wanted.co_argcount
        and not (code.co_kwonlyargcount or code.co_freevars or code.co_cellvars)
        and not (code.co_flags ^ wanted.co_flags) & ~_CO_NESTED
    )
