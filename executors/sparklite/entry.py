"""The first thing of sparklite that a worker imports: makes the rest known under the name that pickles use.

A worker knows this package as part of the bundle (`mesolite_executors.sparklite`). Pickles of the driver say
`mesolite.executors.sparklite`. So that name is made to lead into the bundle, whether the image has a Mesolite or not: what
runs is what the agent brought. What else an installed Mesolite has stays importable, but for sparklite's driver side: of that
a worker has what functions may name (worker_face.py), so that a module which says
`from mesolite.frameworks.sparklite import TaskContext` can be imported in any image.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any, Final

_NAME: Final = "mesolite"
_HERE: Final = f"{_NAME}.executors.sparklite"


def load(pickled: bytes) -> Any:
    """Return a stage's function: what `stage_function.pack` of the driver wrote. Its code is unpickled by its first task.

    Args:
        pickled: A `StageCode`.
    """
    if _HERE not in sys.modules:
        _alias()
    return importlib.import_module(f"{_HERE}.stage_runner").StageRunner(pickled)


def _alias() -> None:
    root = sys.modules.get(_NAME) or _root()
    package = _package(f"{_NAME}.executors", [str(Path(__file__).parent.parent)], root)
    assert package.__path__, "the bundle lies somewhere"
    name = f"{_NAME}.frameworks"
    frameworks = sys.modules.get(name) or _package(name, [f"{path}/frameworks" for path in root.__path__], root)
    face = importlib.import_module(f"{_HERE}.worker_face")
    sys.modules[f"{name}.sparklite"] = face
    frameworks.sparklite = face  # type: ignore[attr-defined]


def _root() -> types.ModuleType:
    """The top package, without running an installed one: that would import all of Mesolite into every worker."""
    found = importlib.util.find_spec(_NAME)
    root = sys.modules[_NAME] = types.ModuleType(_NAME)
    root.__path__ = list(found.submodule_search_locations or ()) if found is not None else []
    return root


def _package(name: str, path: list[str], parent: types.ModuleType) -> types.ModuleType:
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = path
    setattr(parent, name.rpartition(".")[2], package)
    return package
