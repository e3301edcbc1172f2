"""The first thing of sparklite that a worker imports: makes the rest known under the name that pickles use.

A worker knows this package as part of the bundle (`mesolite_executors.sparklite`). Pickles of the driver say
`mesolite.executors.sparklite`. So that name is made to lead into the bundle, whether the image has a Mesolite or not: what
runs is what the agent brought.
"""

import importlib
import pickle
import sys
import types
from pathlib import Path
from typing import Any, Final

_NAME: Final = "mesolite"


def load(pickled: bytes) -> Any:
    """Unpickle what the driver pickled: the function of a stage."""
    _alias()
    return pickle.loads(pickled)


def _alias() -> None:
    if f"{_NAME}.executors.sparklite" in sys.modules:
        return
    try:
        root: types.ModuleType = importlib.import_module(_NAME)
    except ImportError:
        root = sys.modules[_NAME] = types.ModuleType(_NAME)
        root.__path__ = []
    name = f"{_NAME}.executors"
    package = types.ModuleType(name)
    package.__path__ = [str(Path(__file__).parent.parent)]
    sys.modules[name] = package
    root.executors = package  # type: ignore[attr-defined]
