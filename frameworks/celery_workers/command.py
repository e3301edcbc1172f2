"""A worker as a task: its command line, its environment, its container."""

import shlex

from mesolite.ids import AgentId, TaskId
from mesolite.protocol import CommandInfo, ContainerInfo, KillPolicy, Network, TaskInfo
from mesolite.resources import Resource

from .group import Group
from .worker import node_name


def worker_task(
    group: Group, number: int, task_id: TaskId, agent_id: AgentId, resources: tuple[Resource, ...], grace_ms: int
) -> TaskInfo:
    """Describe one worker.

    Args:
        group: Whose.
        number: Its number, which its node name has.
        task_id: Its task's id.
        agent_id: Where it will run.
        resources: Carved out of offers.
        grace_ms: How long it may take to end when it is asked to.
    """
    worker = group.worker
    container = None
    if worker.image is not None or worker.volumes or worker.network is not Network.BRIDGE:
        container = ContainerInfo(image=worker.image, network=worker.network, volumes=worker.volumes)
    return TaskInfo(
        task_id=task_id,
        agent_id=agent_id,
        name=f"celery worker {group.name}",
        resources=resources,
        command=CommandInfo(value=command_line(group, number), environment=environment(group), user=worker.user),
        container=container,
        kill_policy=KillPolicy(grace_period_ms=grace_ms, first_process_only=True),
        labels={"celery.app": group.app, "celery.group": group.name, "celery.node": node_name(group.name, number)},
    )


def command_line(group: Group, number: int) -> str:
    """Write what a worker's shell runs. It replaces itself by Celery, so that Celery hears the signals."""
    worker = group.worker
    words = ["-m", "celery", "-A", group.app, "worker", "-n", node_name(group.name, number)]
    words += ["-c", str(worker.concurrency), "-P", worker.pool]
    if group.queues:
        words += ["-Q", ",".join(group.queues)]
    line = f"exec {shlex.join((worker.python or 'python3', *words, *worker.arguments))}"
    if worker.path:
        folders = shlex.quote(":".join(worker.path))
        line = f'export PYTHONPATH={folders}"${{PYTHONPATH:+:$PYTHONPATH}}"; {line}'
    return line


def environment(group: Group) -> dict[str, str]:
    """Return a worker's variables: its group's, and output as it is written."""
    return {"PYTHONUNBUFFERED": "1", **group.worker.env}
