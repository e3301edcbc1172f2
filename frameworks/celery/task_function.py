"""A message's task as a call of the Python executor, and a call's value as what became of the task.

The function is a pickle written by hand: it names `entry.run` of the agent's bundle, which is not importable here.
"""

import hashlib
import pickle
from typing import Any, Final

from mesolite.executors.celery.protocol import (
    ENTRY_MODULE,
    ENTRY_NAME,
    How,
    Raised,
    ReportKind,
    TaskReport,
    TaskRun,
)
from mesolite.executors.python.calls import PICKLE_PROTOCOL, Function
from mesolite.executors.python.codec import BadBytes, loads

from ..futures.errors import NotPicklable

#: Names of tasks that are told apart; an application has some hundred.
MAX_TASK_NAMES: Final = 1_000
#: As SHA-256 is used in `Function`.
_DIGEST_BYTES: Final = 16


def _entry() -> Function:
    # PROTO, GLOBAL, STOP (pickletools).
    pickled = b"".join((b"\x80", bytes([PICKLE_PROTOCOL]), f"c{ENTRY_MODULE}\n{ENTRY_NAME}\n.".encode()))
    return Function(hashlib.sha256(pickled).digest()[:_DIGEST_BYTES], pickled)


#: The one function of all calls.
ENTRY: Final = _entry()


class FunctionsByTask:
    """One function, told apart by the tasks that it is called for: pools learn of each function how long its calls take.

    Args:
        function: The function.
    """

    def __init__(self, function: Function) -> None:
        self._function: Final = function
        self._known: Final[dict[str, Function]] = {}

    def of(self, task_name: str) -> Function:
        """Return the function for a task."""
        known = self._known.get(task_name)
        if known is None:
            if len(self._known) >= MAX_TASK_NAMES:
                self._known.clear()
            digest = hashlib.sha256(self._function.digest + task_name.encode(errors="replace")).digest()
            known = self._known[task_name] = Function(digest[:_DIGEST_BYTES], self._function.pickled)
        return known


def arguments(run: TaskRun) -> bytes:
    """Return a run as the arguments of a call.

    Raises:
        NotPicklable: Something of it does not travel.
    """
    value: tuple[tuple[Any, ...], dict[str, Any]] = (tuple(run), {})
    try:
        return pickle.dumps(value, PICKLE_PROTOCOL)
    except Exception as error:
        # Pickling runs the code of whatever is pickled.
        raise NotPicklable(f"task {run.name}[{run.task_id}] cannot be sent to a worker: {error}") from error


def report_of(payload: bytes) -> TaskReport:
    """Read what a call returned.

    Raises:
        BadBytes: It is no report.
    """
    match loads(payload):
        case (int(kind), str(text), float(runtime_s), int(peak_kib), bytes(detail)):
            try:
                return TaskReport(ReportKind(kind), text, runtime_s, peak_kib, detail)
            except ValueError as error:
                raise BadBytes(f"a report of kind {kind}: the executor is newer than the dispatcher?") from error
        case _:
            raise BadBytes("this is no report of a task")


def raised_of(report: TaskReport) -> Raised:
    """Read the detail of a report of kind RAISED.

    Raises:
        BadBytes: It is none.
    """
    match loads(report.detail):
        case (
            int(how),
            bool(traced),
            bool(internal),
            str(module),
            str(class_name),
            str(shown),
            bool(requeue),
            bytes(pickled),
        ):
            try:
                return Raised(How(how), traced, internal, module, class_name, shown, requeue, pickled)
            except ValueError as error:
                raise BadBytes(f"an exception that means {how}: the executor is newer than the dispatcher?") from error
        case _:
            raise BadBytes("this is nothing that a task raised")
