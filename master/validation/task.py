"""T1 to T14: what is wrong with one task of a LAUNCH, in Mesos's order."""

from dataclasses import dataclass

from mesolite.ids import AgentId, id_error
from mesolite.protocol import CommandInfo, TaskInfo
from mesolite.resources import Resources

from ..settings import MAX_TASKS_PER_FRAMEWORK
from ..state import Framework
from .framework import MAX_DURATION_MS

#: A task's description travels, is checkpointed and kept in memory for as long as it runs.
MAX_TASK_TEXT_BYTES = 256 * 1024
MAX_URIS = 1000
#: Below these a container cannot even start (Docker refuses less than 6 MiB; a quota under 1 ms per 100 ms).
MIN_TASK_CPUS_MILLI = 10
MIN_TASK_MEM_MILLI = 6000


@dataclass(frozen=True, slots=True)
class Launch:
    """What a task is checked against."""

    framework: Framework
    agent_id: AgentId
    #: What the accepted offers still have.
    remaining: Resources


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
        or _work_error(task)
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


def _work_error(task: TaskInfo) -> str | None:
    if task.executor is not None:
        return "custom executors are not supported yet; describe the task by its command"
    if task.command is None:
        return "the task has no command"
    return _command_error(task.command)


def _command_error(command: CommandInfo) -> str | None:
    if command.shell and not command.value:
        return "a shell command needs its text in `value`"
    if not command.shell and not command.value and not command.arguments:
        return "a command without shell needs its executable in `value` or in `arguments`"
    if len(command.uris) > MAX_URIS:
        return f"{len(command.uris)} URIs; at most {MAX_URIS} are allowed"
    texts = (command.value or "", *command.arguments, *command.environment, *command.environment.values())
    if any("\0" in text for text in texts):
        return "a NUL character stands in the command or its environment"
    if any(not name or "=" in name for name in command.environment):
        return "an environment variable's name is empty or contains '='"
    if sum(map(len, texts)) > MAX_TASK_TEXT_BYTES:
        return f"the command and its environment are over {MAX_TASK_TEXT_BYTES} characters; pass a file by URI"
    return None


def _resources_error(resources: Resources, launch: Launch) -> str | None:
    if not resources:
        return "the task asks for no resources; it needs cpus and mem"
    if resources.scalar("cpus") < MIN_TASK_CPUS_MILLI:
        return f"the task asks for less than {MIN_TASK_CPUS_MILLI / 1000} cpus"
    if resources.scalar("mem") < MIN_TASK_MEM_MILLI:
        return f"the task asks for less than {MIN_TASK_MEM_MILLI // 1000} MiB of mem"
    if not launch.remaining.contains(resources):
        return f"the task asks for {resources.unallocated()}; the offer has {launch.remaining.unallocated()} left"
    return None
