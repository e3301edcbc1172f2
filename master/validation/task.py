"""T1 to T14: what is wrong with one task of a LAUNCH, in Mesos's order."""

from dataclasses import dataclass

from mesolite.ids import AgentId, id_error
from mesolite.protocol import MAX_EXECUTOR_DATA_BYTES, TaskInfo
from mesolite.resources import Resources

from ..settings import MAX_TASKS_PER_FRAMEWORK
from ..state import Framework
from .command import command_error
from .framework import MAX_DURATION_MS
from .work import MAX_TASK_TEXT_BYTES, MIN_CPUS_MILLI, MIN_MEM_MILLI, container_error, labels_error


@dataclass(frozen=True, slots=True)
class BroughtExecutor:
    """The executor that a task names, as far as it is known what is wrong with it."""

    error: str | None
    #: What it asks for itself, stamped with the offer's role; nothing where it is on the agent already.
    resources: Resources


@dataclass(frozen=True, slots=True)
class Launch:
    """What a task is checked against."""

    framework: Framework
    agent_id: AgentId
    #: What the accepted offers still have.
    remaining: Resources
    #: None: the task brings a command of its own.
    executor: BroughtExecutor | None = None


def task_error(task: TaskInfo, resources: Resources, launch: Launch) -> str | None:
    """Say what is wrong with a task, or None.

    Args:
        task: As the framework sent it.
        resources: Its resources (valid by R1 to R13), stamped with the offer's role.
        launch: The offers and the framework.
    """
    return (
        _id_error(task, launch)
        or _agent_error(task, launch)
        or _duration_error(task)
        or work_error(task, launch.executor)
        or _resources_error(resources, launch)
    )


def _id_error(task: TaskInfo, launch: Launch) -> str | None:
    if error := id_error(task.task_id):
        return f"the task id {error}"
    if task.task_id in launch.framework.tasks or task.task_id in launch.framework.unreachable:
        return f"the id {task.task_id} belongs to a task of this framework that has not ended; ids are never used again"
    if task.task_id in launch.framework.used_ids:
        return f"the id {task.task_id} belonged to a task of this framework that has ended; ids are never used again"
    if len(launch.framework.tasks) >= MAX_TASKS_PER_FRAMEWORK:
        return f"the framework has {MAX_TASKS_PER_FRAMEWORK} tasks, which is the limit"
    return None


def _agent_error(task: TaskInfo, launch: Launch) -> str | None:
    if task.agent_id != launch.agent_id:
        return f"the task is for agent {task.agent_id}, the offer from agent {launch.agent_id}"
    return None


def _duration_error(task: TaskInfo) -> str | None:
    if task.kill_policy is not None and not 0 <= task.kill_policy.grace_period_ms <= MAX_DURATION_MS:
        return f"kill_policy.grace_period_ms is {task.kill_policy.grace_period_ms}; it must not be negative or absurd"
    limit_ms = task.max_completion_time_ms
    if limit_ms is not None and not 0 <= limit_ms <= MAX_DURATION_MS:
        return f"max_completion_time_ms is {limit_ms}; it must not be negative or absurd"
    return None


def work_error(task: TaskInfo, executor: BroughtExecutor | None) -> str | None:
    """T8, T9, T11, T12: say what is wrong with what a task is to do, or None."""
    if len(task.data) > MAX_EXECUTOR_DATA_BYTES:
        return f"the task's data are {len(task.data)} bytes; at most {MAX_EXECUTOR_DATA_BYTES} are allowed: pass a reference"
    if len(task.name) > MAX_TASK_TEXT_BYTES:
        return f"the task's name has {len(task.name)} characters; at most {MAX_TASK_TEXT_BYTES} are allowed"
    if error := labels_error(task.labels):
        return f"the task's {error}"
    if executor is None:
        if task.command is None:
            return "the task has neither a command nor an executor"
        return command_error(task.command) or (container_error(task.container) if task.container is not None else None)
    if task.command is not None:
        return (
            "the task has both a command and an executor; its executor decides what it does, so leave the command out"
        )
    if task.container is not None:
        return "the task has a container of its own, but runs in its executor's; describe the executor's container"
    return executor.error


def _resources_error(resources: Resources, launch: Launch) -> str | None:
    if not resources:
        return "the task asks for no resources; it needs cpus and mem"
    if launch.executor is None:
        return _least_error(resources) or _remaining_error(resources, launch.remaining)
    # T13 and T14: what the executor takes is taken first, so that nothing in the offer serves for both.
    own = launch.executor.resources
    if not own:
        return _remaining_error(resources, launch.remaining)
    if not launch.remaining.contains(own):
        return f"the task's executor asks for {own.unallocated()}; the offer has {launch.remaining.unallocated()} left"
    return _remaining_error(resources, launch.remaining - own)


def _least_error(resources: Resources) -> str | None:
    """A task with a command has a container to itself."""
    if resources.scalar("cpus") < MIN_CPUS_MILLI:
        return f"the task asks for less than {MIN_CPUS_MILLI / 1000} cpus"
    if resources.scalar("mem") < MIN_MEM_MILLI:
        return f"the task asks for less than {MIN_MEM_MILLI // 1000} MiB of mem"
    return None


def _remaining_error(resources: Resources, remaining: Resources) -> str | None:
    if not remaining.contains(resources):
        return f"the task asks for {resources.unallocated()}; the offer has {remaining.unallocated()} left"
    return None
