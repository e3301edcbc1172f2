"""Says why something cannot be pickled, and where in it: `result.items[3].lock: cannot pickle '_thread.lock' object`.

Used on both ends: in the worker for results and exceptions, by the framework for functions and arguments. Method: whatever cannot
be pickled has a part that cannot; go down to the smallest. Parts are what pickle would write, as far as one can see from outside.
"""

import types
from collections.abc import Callable, Iterator
from typing import Final, cast

#: A part deeper than this is named by the path so far.
MAX_DEPTH: Final = 40
#: Parts tried at each level and in all: the explanation may cost some time, never all of it.
MAX_PARTS: Final = 2_000
#: The longest text of the error that is shown.
_MAX_REASON_LENGTH: Final = 500


def explain(value: object, root: str, dumps: Callable[[object], object]) -> str:
    """Name the smallest part that `dumps` refuses, and why. Only for what it was seen to refuse.

    Args:
        value: What cannot be pickled.
        root: What to call it: "result".
        dumps: Pickles, or raises anything.
    """
    path, reason = root, refusal(value, dumps) or "it can be pickled now, but could not a moment ago"
    budget = MAX_PARTS
    seen: set[int] = {id(value)}
    for _ in range(MAX_DEPTH):
        for step, part in parts_of(value):
            budget -= 1
            if budget <= 0:
                return f"{path} (or something in it): {reason}"
            if id(part) in seen:
                continue
            because = refusal(part, dumps)
            if because is not None:
                seen.add(id(part))
                path, value, reason = path + step, part, because
                break
        else:
            break
    return f"{path}: {reason}"


def refusal(value: object, dumps: Callable[[object], object]) -> str | None:
    """Why it cannot be pickled; None where it can."""
    try:
        dumps(value)
    except RecursionError:
        return "it is nested too deeply (RecursionError)"
    # A `__reduce__` of the user's may raise whatever it likes.
    except Exception as error:  # noqa: BLE001
        return f"{error}"[:_MAX_REASON_LENGTH] or type(error).__name__
    return None


def parts_of(value: object) -> Iterator[tuple[str, object]]:
    """Yield the parts of a value, each with the step that leads to it."""
    if isinstance(value, (str, bytes, int, float, type, types.ModuleType)):
        return
    if isinstance(value, dict):
        yield from _parts_of_dict(cast("dict[object, object]", value))
    elif isinstance(value, (list, tuple)):
        yield from _parts_of_sequence(cast("list[object] | tuple[object, ...]", value))
    elif isinstance(value, (set, frozenset)):
        for element in cast("set[object]", value):
            yield f"{{{_shown(element)}}}", element
    elif isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    yield from _attributes_of(value)


def _parts_of_dict(value: dict[object, object]) -> Iterator[tuple[str, object]]:
    for key, element in list(value.items()):
        yield f"[{_shown(key)}]", element
        yield f" (its key {_shown(key)})", key


def _parts_of_sequence(value: list[object] | tuple[object, ...]) -> Iterator[tuple[str, object]]:
    names = cast("tuple[str, ...]", getattr(type(value), "_fields", ()))
    for index, element in enumerate(value):
        yield (f".{names[index]}" if index < len(names) else f"[{index}]"), element


def _parts_of_function(value: types.FunctionType) -> Iterator[tuple[str, object]]:
    """Yield what a function carries when it is pickled by value: closure, defaults, and the globals that it names."""
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
        try:
            yield f" (its variable {name})", cell.cell_contents
        except ValueError:
            continue  # a cell that is empty still
    for index, default in enumerate(value.__defaults__ or ()):
        yield f" (its default argument {index})", default
    for name, default in (value.__kwdefaults__ or {}).items():
        yield f" (its default argument {name})", default
    for name in sorted(_names_in(value.__code__)):
        if name in value.__globals__:
            yield f" (the global {name})", value.__globals__[name]


def _names_in(code: types.CodeType) -> set[str]:
    """Names that the code and the functions in it look up."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names_in(constant)
    return names


def _attributes_of(value: object) -> Iterator[tuple[str, object]]:
    """Yield what is in `__dict__` and `__slots__`."""
    attributes: object = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        for name, part in list(cast("dict[str, object]", attributes).items()):
            yield f".{name}", part
    for kind in type(value).__mro__:
        slots: object = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else cast("tuple[str, ...]", slots):
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield f".{name}", getattr(value, name)
    if isinstance(value, BaseException):
        yield ".args", value.args


def _shown(value: object) -> str:
    """A key or an element, short."""
    try:
        text = repr(value)
    # As above: a `__repr__` of the user's.
    except Exception:  # noqa: BLE001
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."
