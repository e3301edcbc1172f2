"""G1 to G6: what is wrong with a LAUNCH_GROUP (reference 2.6). Whatever it is, none of its tasks is launched."""

from collections.abc import Sequence
from dataclasses import replace

from mesolite.ids import TaskId
from mesolite.protocol import MAX_EXECUTOR_DATA_BYTES, ExecutorInfo, TaskInfo
from mesolite.resources import EMPTY, Resources

from .task import BroughtExecutor, Launch, task_error

#: Tasks of one group. They reach their executor in one line of the executor protocol (MAX_LINE_BYTES).
MAX_GROUP_TASKS = 1000
#: All data of a group: as base64, with the rest of a line beside it.
MAX_GROUP_DATA_BYTES = 4 * MAX_EXECUTOR_DATA_BYTES


def group_error(executor: ExecutorInfo, tasks: Sequence[tuple[TaskInfo, Resources]], launch: Launch) -> str | None:
    """Say what is wrong with a group, or None.

    Args:
        executor: The group's.
        tasks: Each with its resources (valid by R1 to R13), stamped with the offer's role.
        launch: The offers, the framework, and the group's executor.
    """
    assert launch.executor is not None, "a group has an executor"
    if launch.executor.error is not None:
        return launch.executor.error
    if len(tasks) > MAX_GROUP_TASKS:
        return f"the group has {len(tasks)} tasks; at most {MAX_GROUP_TASKS} are allowed"
    if (data_bytes := sum(len(task.data) for task, _ in tasks)) > MAX_GROUP_DATA_BYTES:
        return f"the data of the group's tasks are {data_bytes} bytes; at most {MAX_GROUP_DATA_BYTES} are allowed"
    seen: set[TaskId] = set()
    for task, resources in tasks:
        if task.task_id in seen:
            return f"task {task.task_id}: its id stands twice in the group"
        seen.add(task.task_id)
        if task.executor is not None and task.executor != executor:
            return f"task {task.task_id}: its executor is not the group's; leave it out"
        if error := task_error(task, resources, launch):
            return f"task {task.task_id}: {error}"
        # G5 and G6: each is checked against what those before it leave.
        launch = _without(launch, resources)
    return None


def _without(launch: Launch, resources: Resources) -> Launch:
    own = launch.executor.resources if launch.executor is not None else EMPTY
    return replace(
        launch, remaining=launch.remaining - own - resources, executor=BroughtExecutor(error=None, resources=EMPTY)
    )
