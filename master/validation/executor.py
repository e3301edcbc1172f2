"""E1 to E5: what is wrong with an executor that a task names (reference 2.5).

Stricter than Mesos in one point: an executor asks for as much memory as its container needs to start (G4 there is for groups
only, and elsewhere Mesos but warns). Between two tasks its container has nothing else. CPUs of its own it need not have: it lives
on its tasks' share, and what waits for tasks waits well enough on the least that a container is given (`limits_of_amounts`).
"""

from mesolite.ids import id_error
from mesolite.protocol import MAX_EXECUTOR_DATA_BYTES, ExecutorInfo
from mesolite.resources import Resources

from .command import command_error
from .framework import MAX_DURATION_MS
from .work import MAX_TASK_TEXT_BYTES, MIN_CPUS_MILLI, MIN_MEM_MILLI, container_error, labels_error


def executor_error(info: ExecutorInfo, resources: Resources, held: ExecutorInfo | None) -> str | None:
    """Say what is wrong with an executor, or None.

    Args:
        info: As the framework sent it.
        resources: Its own resources (valid by R1 to R13).
        held: The executor of this id that is on the agent.
    """
    if error := id_error(info.executor_id):
        return f"the executor id {error}"
    if held is not None:
        # E5. What is there has been found good, so nothing else can be wrong with an equal one.
        if held == info:
            return None
        return f"executor {info.executor_id} is on the agent already, and described otherwise; give a new one a new id"
    return _description_error(info) or _resources_error(resources)


def _description_error(info: ExecutorInfo) -> str | None:
    if not 0 <= info.shutdown_grace_period_ms <= MAX_DURATION_MS:
        return (
            f"the executor's shutdown_grace_period_ms is {info.shutdown_grace_period_ms}; "
            "it must not be negative or absurd"
        )
    if error := command_error(info.command):
        return f"the executor's command: {error}"
    if info.container is not None and (error := container_error(info.container)):
        return f"the executor's container: {error}"
    if len(info.name) > MAX_TASK_TEXT_BYTES:
        return f"the executor's name has {len(info.name)} characters; at most {MAX_TASK_TEXT_BYTES} are allowed"
    if error := labels_error(info.labels):
        return f"the executor's {error}"
    if len(info.data) > MAX_EXECUTOR_DATA_BYTES:
        return f"the executor's data are {len(info.data)} bytes; at most {MAX_EXECUTOR_DATA_BYTES} are allowed"
    return None


def _resources_error(resources: Resources) -> str | None:
    if 0 < resources.scalar("cpus") < MIN_CPUS_MILLI:
        return f"the executor asks for less than {MIN_CPUS_MILLI / 1000} cpus of its own; ask for none, or more"
    if resources.scalar("mem") < MIN_MEM_MILLI:
        return f"the executor asks for less than {MIN_MEM_MILLI // 1000} MiB of mem of its own"
    return None
