"""Pickles of what users' functions made, for other workers: plain pickle where it will do, cloudpickle for the rest."""

import pickle
import sys
from typing import Any, Final

#: Of every Python that runs this; large bytes are not copied.
PROTOCOL: Final = 5


def pickled(value: Any) -> bytes:
    """Pickle a value; objects of classes that the driver's program defines, which no module has here, by value.

    Raises:
        Exception: It cannot be pickled; whatever pickling raised.
    """
    try:
        return pickle.dumps(value, PROTOCOL)
    # What it cannot do is for cloudpickle to say.
    except Exception:  # noqa: BLE001
        if "cloudpickle" not in sys.modules:
            __import__("cloudpickle")
        return bytes(sys.modules["cloudpickle"].dumps(value, PROTOCOL))
