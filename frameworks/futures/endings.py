"""What a task's state means for the call, or the worker, that it is (reference 1.7)."""

import enum
from typing import Final

from mesolite.executors.python.calls import End, Outcome
from mesolite.executors.python.codec import BadBytes
from mesolite.executors.python.settings import EXIT_OLD_PYTHON
from mesolite.executors.python.tasks import decode_outcome
from mesolite.protocol import Reason, Source, TaskState, TaskStatus

from .errors import CallError, CallLost, CannotRun, ImageWithoutPython, PythonMismatch
from .programs import NO_PROGRAM_EXIT_CODES

_MEBIBYTE: Final = 1024 * 1024


class Word(enum.Enum):
    """What an update comes to."""

    #: It is on its way, or runs.
    ALIVE = "alive"
    #: It has ended, or its executor under it.
    ENDED = "ended"
    #: It certainly never began.
    UNSTARTED = "unstarted"
    #: It is gone with its agent.
    LOST = "lost"
    #: Its agent is out of sight; it may come back.
    UNSEEN = "unseen"


WORD_OF_STATE: Final = {
    TaskState.STAGING: Word.ALIVE,
    TaskState.STARTING: Word.ALIVE,
    TaskState.RUNNING: Word.ALIVE,
    TaskState.KILLING: Word.ALIVE,
    TaskState.FINISHED: Word.ENDED,
    TaskState.FAILED: Word.ENDED,
    TaskState.KILLED: Word.ENDED,
    TaskState.ERROR: Word.ENDED,
    TaskState.DROPPED: Word.UNSTARTED,
    TaskState.GONE: Word.LOST,
    TaskState.GONE_BY_OPERATOR: Word.LOST,
    TaskState.UNREACHABLE: Word.UNSEEN,
    TaskState.UNKNOWN: Word.UNSEEN,
}

#: How the Python executor begins to say that it has another version (mesolite.executors.python.executor).
_OTHER_PYTHON: Final = "this container has Python"
#: A container that could not be started is nobody's loss: it will not start the next time.
_NEVER_RUNS: Final = frozenset({Reason.CONTAINER_LAUNCH_FAILED, Reason.TASK_INVALID, Reason.TASK_UNAUTHORIZED})


def ending_of(status: TaskStatus) -> Outcome | CallError:
    """How a call has ended whose task has.

    `CallLost` where nobody knows how far it came.
    """
    try:
        outcome = decode_outcome(status.data)
    except BadBytes as error:
        return CallError(f"its end cannot be read: {error}")
    return outcome if outcome is not None else end_without_word(status)


def end_without_word(status: TaskStatus) -> Outcome | CallError:
    """How a call or a worker has ended of which its executor does not speak."""
    container = status.container_status
    if status.reason is Reason.CONTAINER_LIMITATION_MEMORY:
        limit_mib = container.mem_limit_mib if container is not None and container.mem_limit_mib is not None else 0
        peak = container.peak_mem_bytes if container is not None and container.peak_mem_bytes is not None else 0
        message = "its executor's container went over its memory limit"
        return Outcome(End.OUT_OF_MEMORY, message=message, limit_bytes=limit_mib * _MEBIBYTE, peak_bytes=peak)
    if status.source is Source.EXECUTOR and status.message.startswith(_OTHER_PYTHON):
        return PythonMismatch(status.message)
    if status.state is TaskState.ERROR or status.reason in _NEVER_RUNS:
        return CannotRun(f"it cannot be run: {status.message or status.state.value}")
    if container is not None and container.exit_code == EXIT_OLD_PYTHON:
        return PythonMismatch("its executor's Python is older than 3.11; choose an image or a `python` that matches")
    if container is not None and container.exit_code in NO_PROGRAM_EXIT_CODES:
        return ImageWithoutPython(f"its executor found no Python to run on: {status.message}")
    where = f" on agent {status.agent_id}" if status.agent_id is not None else ""
    return CallLost(f"it was lost{where}, and may have begun: {status.message or status.state.value}")
