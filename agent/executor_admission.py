"""Whether tasks may be launched under an executor, and what they and it hold then: the agent's last look, as in `admission.py`.

Tasks of a group are taken or refused together. The master says whether it has charged a new executor; where the agent sees
that otherwise the tasks are dropped, because books that err are worse than a task that is launched again.
"""

from typing import NamedTuple

from mesolite.executors.command import Verdict
from mesolite.protocol import ExecutorInfo, FrameworkInfo, Reason, TaskInfo, TaskState

from .admission import Shape, dropped, invalid, launch_bytes, no_room
from .executor import Executor
from .executor_lifecycle import CLOSING_PHASES
from .outbox import Outbox
from .settings import MAX_EXECUTORS, MAX_LAUNCH_BYTES
from .taskbook import TaskBook


class Request(NamedTuple):
    """Tasks that are to be launched under one executor: one, or those of a group."""

    framework: FrameworkInfo
    executor: ExecutorInfo
    tasks: tuple[TaskInfo, ...]
    grouped: bool
    #: The master has charged a new executor.
    launches: bool


class Admitted(NamedTuple):
    """What is booked in the ledger now."""

    #: The executor's own; None where it is here already.
    own: Shape | None
    #: Of each task.
    tasks: list[Shape]


def admit(
    request: Request, living: Executor | None, book: TaskBook, executors: int, outbox: Outbox
) -> Admitted | Verdict:
    """Book what a request needs, or say what its refusal is called.

    Args:
        request: Its tasks are not known.
        living: The executor of this id that is here.
        book: Knows the tasks.
        executors: How many live here.
        outbox: For notes.
    """
    own: Shape | Verdict | None = _own(request, living, book, executors)
    # What is wrong with a task is said first, so that its framework hears of its own mistakes before it hears of chance.
    shapes = _shapes(request, book, outbox)
    if isinstance(shapes, Verdict):
        return shapes
    if isinstance(own, Verdict):
        return own
    holdings = [shape.holding for shape in shapes]
    missing = book.ledger.take_all(holdings if own is None else [own.holding, *holdings])
    return no_room(missing) if missing is not None else Admitted(own, shapes)


def _own(request: Request, living: Executor | None, book: TaskBook, executors: int) -> Shape | Verdict | None:
    """Return what a new executor means, None where it is here, or why it can take nothing."""
    info = request.executor
    if living is None and request.launches:
        if executors >= MAX_EXECUTORS:
            return dropped(Reason.CONTAINER_LIMITATION, f"the agent has {MAX_EXECUTORS} executors, which is its limit")
        return book.admission.decide_executor(info)
    if living is None:
        return _terminated(f"executor {info.executor_id!r} is not here any more; the task may be launched again")
    if living.info is not info and living.info != info:
        return invalid(
            f"executor {info.executor_id!r} is here already, and described otherwise; give a new one a new id"
        )
    if living.phase in CLOSING_PHASES:
        return _terminated(f"executor {info.executor_id!r} is ending; the task may be launched again")
    if request.launches:
        return _terminated(f"executor {info.executor_id!r} is here already, and was to be launched anew")
    return None


def _shapes(request: Request, book: TaskBook, outbox: Outbox) -> list[Shape] | Verdict:
    framework, grouped = request.framework, request.grouped
    removed, tasks = book.is_removed(framework.framework_id), len(book.tasks)
    shapes: list[Shape] = []
    for task in request.tasks:
        shape = book.reused(framework, task, outbox) or book.admission.decide_for_executor(
            framework, task, tasks + len(shapes), removed
        )
        if isinstance(shape, Verdict):
            return _of_group(task, shape) if grouped else shape
        shapes.append(shape)
    return (_group_error(request) if grouped else None) or shapes


def _group_error(request: Request) -> Verdict | None:
    """G5 in part, and a limit: a group reaches its executor in one line."""
    if len({task.task_id for task in request.tasks}) != len(request.tasks):
        return invalid_group("a task id stands in the group twice")
    if (size := sum(map(launch_bytes, request.tasks))) > MAX_LAUNCH_BYTES:
        return invalid_group(
            f"the group has {size} bytes of data and labels; its executor can be told {MAX_LAUNCH_BYTES}"
        )
    return None


def _of_group(task: TaskInfo, verdict: Verdict) -> Verdict:
    message = f"task {task.task_id} of the group: {verdict.message}"
    if verdict.state is TaskState.ERROR:
        return invalid_group(message)
    return Verdict(state=verdict.state, reason=verdict.reason or Reason.TASK_GROUP_INVALID, message=message)


def invalid_group(message: str) -> Verdict:
    """Refuse a group that can never be launched."""
    return Verdict(state=TaskState.ERROR, reason=Reason.TASK_GROUP_INVALID, message=message)


def _terminated(message: str) -> Verdict:
    return dropped(Reason.EXECUTOR_TERMINATED, message)
