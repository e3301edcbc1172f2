"""Which task runs here: what broadcast values, accumulators and contexts ask that have none of their own.

Each thread of the local backend is a worker, so the answer is the thread's. In a worker process there is one task at a time, and
threads that a user's function starts belong to it as well.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .task import Task


class _Current(threading.local):
    """A thread's task."""

    task: "Task | None" = None


_of_thread: Final = _Current()
#: The task of a process that runs one at a time; empty elsewhere.
_of_process: Final["list[Task]"] = []


def task() -> "Task | None":
    """Return the task that runs here; None: this is no worker, or it has nothing to do."""
    own = _of_thread.task
    if own is None and _of_process:
        return _of_process[-1]
    return own


@contextmanager
def running(started: "Task", *, alone: bool = False) -> Generator[None]:
    """Be a task, as long as the block lasts.

    Args:
        started: The task.
        alone: It is the only one of the process: threads that it starts have it too.
    """
    before = _of_thread.task
    _of_thread.task = started
    if alone:
        _of_process.append(started)
    try:
        yield
    finally:
        _of_thread.task = before
        if alone:
            _of_process.pop()
