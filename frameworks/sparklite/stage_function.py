"""A stage's code as the function of a call, a task as its arguments, and a call's value as a task's end.

A worker has no `mesolite.executors.sparklite` until entry.py of its bundle has made it known under this name. So the function is
a pickle written by hand, that names `mesolite_executors.sparklite.entry.load` and has the stage's pickle as its argument.
"""

import hashlib
import pickle
import struct
from typing import Any, Final

from mesolite.executors.python.calls import PICKLE_PROTOCOL, Function
from mesolite.executors.python.explain import explain, refusal
from mesolite.executors.sparklite.nodes import Node
from mesolite.executors.sparklite.task_data import StageCode, TaskDone, TaskMissed, TaskSpec

from ..futures.pickling import dumps
from .errors import ClosureError, SparkError

#: As SHA-256 is used in `Function`.
_DIGEST_BYTES: Final = 16
#: Whatever lies there is for the driver alone.
_DRIVER_SIDE: Final = "mesolite.frameworks."
_LOADER: Final = b"mesolite_executors.sparklite.entry\nload\n"


def pack(code: StageCode) -> Function:
    """Return a stage's code as workers get it. Raises as `pickled`."""
    return function_of(pickled(code))


def pickled(code: StageCode) -> bytes:
    """Return a stage's code as bytes: what `entry.load` reads, which a backend within this process calls itself.

    Raises:
        ClosureError: Something in it cannot be pickled; the text names it and its path.
    """
    try:
        return dumps(code)
    except SparkError as error:
        raise ClosureError(_refused(code, error)) from None
    # Pickling runs the code of whatever is pickled.
    except Exception as error:
        raise ClosureError(_refused(code, error)) from error


def function_of(code: bytes) -> Function:
    """Return what `pickled` made as the function of a call."""
    length = struct.pack("<Q", len(code))
    # PROTO, GLOBAL, BINBYTES8, TUPLE1, REDUCE, STOP (pickletools).
    whole = b"".join((b"\x80", bytes([PICKLE_PROTOCOL]), b"c", _LOADER, b"\x8e", length, code, b"\x85R."))
    return Function(hashlib.sha256(whole).digest()[:_DIGEST_BYTES], whole)


def arguments(spec: TaskSpec) -> bytes:
    """Return a task as the arguments of a call."""
    value: tuple[tuple[TaskSpec], dict[str, Any]] = ((spec,), {})
    try:
        return pickle.dumps(value, PICKLE_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):
        # What a leaf reads may be a value of the user's.
        return dumps(value)


def result(value: Any, size_bytes: int = 0) -> TaskDone | TaskMissed:
    """Return how a task ended.

    Args:
        value: What the call returned, unpickled.
        size_bytes: How large it was, pickled.

    Raises:
        SparkError: It is nothing that a task ends by.
    """
    if isinstance(value, TaskDone | TaskMissed):
        return value._replace(metrics=value.metrics._replace(result_bytes=size_bytes))
    raise SparkError(
        f"a task returned a {type(value).__name__} instead of its end: driver and agents must run the same version of Mesolite"
    )


def _refused(code: StageCode, error: Exception) -> str:
    """Say which part cannot be pickled: the smallest in the RDD that it is of."""
    dumps_or_says = _Outermost() if isinstance(error, SparkError) else dumps
    waiting: list[Node] = [code.node]
    while waiting:
        node = waiting.pop()
        own = {name: value for name, value in vars(node).items() if name != "parents"}
        if refusal(own, dumps_or_says) is not None:
            return explain(own, f"RDD {node.rdd_id}", dumps_or_says)
        waiting += node.parents
    return explain(code, "the stage", dumps_or_says)


class _Outermost:
    """Pickles for `explain`, down to an object of sparklite's own: that says itself what is wrong, and what is in it does not."""

    def __init__(self) -> None:
        self._found = False

    def __call__(self, value: object) -> bytes:
        if self._found:
            return b""
        try:
            return dumps(value)
        except SparkError:
            self._found = type(value).__module__.startswith(_DRIVER_SIDE)
            raise
