"""How functions, arguments and results become bytes.

cloudpickle, with one rule of our own: what lies in modules of the program itself (that are not installed among the
packages) travels by value, because workers have no copy of the program. Installed packages are imported by workers, which
must have them.

A function is pickled afresh for each call, as for a process pool, unless it can be proved that the bytes would be the
same: see `FunctionCache`.
"""

import hashlib
import io
import pickle
import site
import sys
import sysconfig
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]

from mesolite.executors.python.calls import PICKLE_PROTOCOL, Function

#: As SHA-256 is used in `Function`.
_DIGEST_BYTES: Final = 16
#: Functions whose bytes are kept. A program has few that it submits again and again.
MAX_CACHED_FUNCTIONS: Final = 256
#: Bytes of one that is kept.
MAX_CACHED_BYTES: Final = 1024 * 1024
#: Functions that call functions that call functions: beyond it nothing is proved.
_MAX_DEPTH: Final = 4
#: Values of these types never change.
_CONSTANTS: Final = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis)})
#: Arguments of these types are the same to pickle and cloudpickle, and pickle is eight times as fast.
_PLAIN: Final = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle that sends the program's own modules by value."""

    def reducer_override(self, obj: Any) -> Any:
        """See `pickle.Pickler`."""
        if isinstance(obj, types.ModuleType):
            _send_by_value_if_own(obj.__name__)
        elif isinstance(obj, type | types.FunctionType):
            _send_by_value_if_own(obj.__module__)
        return super().reducer_override(obj)


def dumps(value: object) -> bytes:
    """Pickle anything that cloudpickle can.

    Raises:
        Exception: What the value's own pickling raises; pickle.PicklingError and TypeError most of all.
    """
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=PICKLE_PROTOCOL).dump(value)
    return buffer.getvalue()


def dump_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Pickle arguments; as `dumps`."""
    if all(type(each) in _PLAIN for each in args) and (
        not kwargs or all(type(each) in _PLAIN for each in kwargs.values())
    ):
        return pickle.dumps((args, kwargs), PICKLE_PROTOCOL)
    return dumps((args, kwargs))


def name_of(function: Callable[..., Any]) -> str:
    """What people call a function."""
    inner: Any = function
    while not hasattr(inner, "__qualname__") and hasattr(inner, "func"):
        inner = inner.func
    return str(getattr(inner, "__qualname__", type(inner).__qualname__)).rpartition("<locals>.")[2]


class FunctionCache:
    """Functions that were pickled, as long as nothing has changed that is in their bytes.

    That is known of a function from an installed module, which travels as its name. It is proved of another where its
    code, its defaults, what it closes over and the globals that it names are the same objects as before, and none of them
    can change: constants, modules, classes, and functions of which the same holds. A list that it closes over can change,
    so such a function is pickled for each call. For use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By `id`, with the function itself, which so keeps its id: what the bytes depend on, and the bytes.
        self._known: OrderedDict[int, tuple[object, object, Function]] = OrderedDict()

    def pack(self, function: Callable[..., Any]) -> Function:
        """Return a function's bytes.

        Raises:
            Exception: As `dumps`.
        """
        evidence = _evidence(function)
        if evidence is None:
            return _packed(function)
        with self._lock:
            known = self._known.get(id(function))
            if known is not None and known[1] == evidence:
                self._known.move_to_end(id(function))
                return known[2]
        packed = _packed(function)
        if len(packed.pickled) <= MAX_CACHED_BYTES if isinstance(packed.pickled, bytes) else False:
            with self._lock:
                self._known[id(function)] = (function, evidence, packed)
                if len(self._known) > MAX_CACHED_FUNCTIONS:
                    self._known.popitem(last=False)
        return packed


def _packed(function: Callable[..., Any]) -> Function:
    pickled = dumps(function)
    return Function(hashlib.sha256(pickled).digest()[:_DIGEST_BYTES], pickled)


def _evidence(function: object, depth: int = 0) -> object:
    """All that a function's bytes depend on, to be compared; None where some of it could change unseen."""
    if isinstance(function, types.BuiltinFunctionType) and isinstance(function.__self__, types.ModuleType | None):
        return function
    if not isinstance(function, types.FunctionType) or depth > _MAX_DEPTH:
        return None
    if _is_importable(function):
        return function
    if function.__dict__:
        return None
    cells = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
    if len(cells) != len(function.__closure__ or ()):
        return None
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    names = _names_in(function.__code__)
    named = [function.__globals__[name] for name in names if name in function.__globals__]
    parts: list[object] = [function.__code__, function.__name__, function.__doc__]
    for value in (*cells, *defaults, *named):
        if value is function:
            continue
        part = _evidence_of_value(value, depth)
        if part is None:
            return None
        parts.append(part)
    return parts


def _is_importable(function: types.FunctionType) -> bool:
    """Whether it travels as its name."""
    if function.__module__ == "__main__" or not is_installed(function.__module__):
        return False
    found: object = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def _evidence_of_value(value: object, depth: int) -> object:
    if type(value) in _CONSTANTS:
        return (type(value), value)
    if isinstance(value, types.ModuleType):
        return value if is_installed(value.__name__) else None
    if isinstance(value, type):
        return value if is_installed(value.__module__) and value.__module__ != "__main__" else None
    return _evidence(value, depth + 1)


def _is_empty(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False


@cache
def _names_in(code: types.CodeType) -> tuple[str, ...]:
    """Names that code looks up, functions inside it included; names of attributes are among them and do no harm."""
    return tuple(dict.fromkeys(_all_names(code)))


def _all_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _all_names(constant)


def _send_by_value_if_own(name: str | None) -> None:
    if name is not None and name != "__main__" and not is_installed(name) and name in sys.modules:
        # cloudpickle's own register asks for the module only to read its name.
        cloudpickle.register_pickle_by_value(sys.modules[name])


@cache
def is_installed(name: str) -> bool:
    """Whether a module is one that workers can be expected to have: of the standard library, or an installed package."""
    if name.startswith("mesolite.executors."):
        return True
    if name.startswith("mesolite.frameworks."):
        # Workers have a part of Mesolite, and not this one.
        return False
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if module is None or path is None:
        # Built in, frozen, or made on the fly: the latter is in no other process, but cloudpickle finds that out itself.
        return True
    file = Path(path).absolute()
    return any(file.is_relative_to(folder) for folder in _installed_folders())


@cache
def _installed_folders() -> tuple[Path, ...]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(sorted(Path(path).absolute() for path in paths if path))
