"""From a task or an executor to its container: what is to run, in the containerizer's terms."""

from pathlib import Path
from typing import Final

from mesolite.executors.command import argv_of, environment_of
from mesolite.ids import AgentId
from mesolite.protocol import CommandInfo, ContainerInfo

from .containerizer.contract import ContainerSpec
from .executor import Executor
from .task import Task

#: A container carries these, so that people and the containerizer can tell whose it is.
LABEL_FRAMEWORK: Final = "mesolite.framework_id"
LABEL_TASK: Final = "mesolite.task_id"
LABEL_EXECUTOR: Final = "mesolite.executor_id"

_PLAIN: Final = ContainerInfo()


def container_spec(task: Task, agent_id: AgentId, sandbox_root: str) -> ContainerSpec:
    """Describe the container of an admitted task."""
    info = task.info
    command = info.command
    assert command is not None, "only tasks with a command are admitted"
    container = info.container if info.container is not None else _PLAIN
    return ContainerSpec(
        container_id=task.container_id,
        argv=argv_of(command),
        environment=environment_of(
            task.framework_id,
            info,
            command,
            agent_id=agent_id,
            container_id=task.container_id,
            role=task.shape.role,
        ),
        sandbox=Path(f"{sandbox_root}/{task.framework_id}/{info.task_id}/{task.container_id}"),
        cpus_milli=task.shape.limits.cpus_milli,
        mem_mib=task.shape.limits.mem_mib,
        image=container.image,
        user=command.user,
        uris=command.uris,
        volumes=container.volumes,
        network=container.network,
        privileged=container.privileged,
        force_pull_image=container.force_pull_image,
        read_only_root=container.read_only_root,
        labels={LABEL_FRAMEWORK: task.framework_id, LABEL_TASK: info.task_id},
        ends_first_process=info.kill_policy is not None and info.kill_policy.first_process_only,
    )


def executor_spec(executor: Executor, agent_id: AgentId, sandbox_root: str) -> ContainerSpec:
    """Describe the container of an admitted executor, with the limits that it needs now.

    Its sandbox lies where a task's of that name would, and so do its files: /FRAMEWORK/EXECUTOR/latest/stdout.
    """
    info, command = executor.info, executor.info.command
    container = info.container if info.container is not None else _PLAIN
    return ContainerSpec(
        container_id=executor.container_id,
        argv=argv_of(command),
        environment=_executor_environment(executor, command, agent_id),
        sandbox=Path(f"{sandbox_root}/{executor.framework_id}/{info.executor_id}/{executor.container_id}"),
        cpus_milli=executor.quota_cpus_milli,
        mem_mib=executor.limits.mem_mib,
        image=container.image,
        user=command.user,
        uris=command.uris,
        volumes=container.volumes,
        network=container.network,
        privileged=container.privileged,
        force_pull_image=container.force_pull_image,
        read_only_root=container.read_only_root,
        labels={LABEL_FRAMEWORK: executor.framework_id, LABEL_EXECUTOR: info.executor_id},
    )


def _executor_environment(executor: Executor, command: CommandInfo, agent_id: AgentId) -> dict[str, str]:
    """Return the executor's variables and those that tell it who and where it is (reference 3.2); ours win.

    The containerizer adds MESOS_SANDBOX and what leads to the sockets, because it alone knows where they appear inside.
    """
    return {
        **command.environment,
        "MESOS_FRAMEWORK_ID": executor.framework_id,
        "MESOS_EXECUTOR_ID": executor.info.executor_id,
        "MESOS_AGENT_ID": agent_id,
        "MESOS_CONTAINER_NAME": executor.container_id,
        "MESOS_ALLOCATION_ROLE": executor.shape.role,
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": f"{executor.info.shutdown_grace_period_ms}ms",
    }
