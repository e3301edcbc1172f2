"""Which code a soft time limit may interrupt: the task's, and not what Celery does around it."""

import inspect
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import celery.app.trace
import celery.backends.redis
import pytest

from mesolite.executors.celery.soft_limit import interrupts_task

TRACE = str(celery.app.trace.__file__)
BACKEND = str(celery.backends.redis.__file__)


def here() -> FrameType:
    frame = inspect.currentframe()
    assert frame is not None
    return frame


def caller(name: str, file: str, inner: Callable[[], Any]) -> Callable[[], Any]:
    """A function of this name and file, as frames tell it, that calls another."""

    def call() -> Any:
        return inner()

    code: CodeType = call.__code__.replace(co_name=name, co_filename=file)
    call.__code__ = code
    return call


def interrupted(*stack: tuple[str, str]) -> bool:
    """Whether a task is interrupted below functions of these names and files, outermost first."""
    function: Callable[[], Any] = here
    for name, file in reversed(stack):
        function = caller(name, file, function)
    frame: FrameType = function()
    # The frame of `here` itself stands for whatever is innermost.
    return interrupts_task(frame)


@pytest.mark.parametrize(
    ("stack", "may"),
    [
        ([("trace_task", TRACE), ("run", "tasks.py")], True),
        ([("trace_task", TRACE), ("run", "tasks.py"), ("get", BACKEND)], True),
        ([("trace_task", TRACE), ("__protected_call__", TRACE), ("run", "tasks.py")], True),
        ([("trace_task", TRACE), ("__call__", "tasks.py")], True),
        ([("trace_task", TRACE), ("run", "tasks.py"), ("trace_task", TRACE), ("mark_as_done", BACKEND)], True),
        ([("trace_task", TRACE), ("mark_as_done", BACKEND), ("send", "connection.py")], False),
        ([("trace_task", TRACE), ("on_error", TRACE), ("handle_failure", TRACE)], False),
        ([("fast_trace_task", TRACE)], False),
        ([("run", "tasks.py")], False),
        ([], False),
    ],
)
def test_a_limit_is_raised_below_the_task_alone(stack: list[tuple[str, str]], may: bool) -> None:
    assert interrupted(*stack) is may
