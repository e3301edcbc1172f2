"""From a task to its container: what the command executor says, in the containerizer's terms."""

from pathlib import Path
from typing import Final

from mesolite.executors.command import argv_of, environment_of
from mesolite.ids import AgentId
from mesolite.protocol import ContainerInfo

from .containerizer.contract import ContainerSpec
from .task import Task

#: A container carries these, so that people and the containerizer can tell whose it is.
LABEL_FRAMEWORK: Final = "mesolite.framework_id"
LABEL_TASK: Final = "mesolite.task_id"

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
    )
