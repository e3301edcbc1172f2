"""Containerizers: what runs tasks on a host. `open_containerizer` chooses one and says why.

The Docker SDK is imported only once it is asked for, so that the agent's core can name the contract without it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from mesolite.errors import DockerUnavailable, MesoliteError
from mesolite.ids import AgentId

from .contract import Containerizer, EventSink
from .policy import ContainerPolicy

Kind: TypeAlias = Literal["auto", "docker", "process"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A containerizer, and in one line for people why it is this one."""

    containerizer: Containerizer
    reason: str
    #: What it came to.
    kind: Literal["docker", "process"]


def open_containerizer(
    kind: Kind,
    policy: ContainerPolicy,
    agent_id: AgentId,
    work_dir: Path,
    sink: EventSink,
    *,
    cluster: str = "default",
) -> Chosen:
    """Open the containerizer that fits this host.

    Args:
        kind: "auto" takes Docker where an engine answers and the default image is, or can be brought, there.
        policy: What tasks may have.
        agent_id: Whose containers these are.
        work_dir: The agent's directory; marks the containers too, so that two agents of one name do not mix.
        sink: Takes the events, in any thread.
        cluster: For the containers' labels.

    Raises:
        DockerUnavailable: "docker" was asked for, and no engine answers.
    """
    if kind == "process":
        return _open_process(policy, agent_id, work_dir, sink, "as configured")
    try:
        return _open_docker(kind, policy, agent_id, work_dir, sink, cluster)
    except DockerUnavailable as error:
        if kind == "docker":
            raise
        return _open_process(policy, agent_id, work_dir, sink, str(error))


def _open_process(policy: ContainerPolicy, agent_id: AgentId, work_dir: Path, sink: EventSink, why: str) -> Chosen:
    from .process import ProcessContainerizer

    containerizer = ProcessContainerizer(policy=policy, agent_id=agent_id, work_dir=work_dir, sink=sink)
    return Chosen(containerizer, f"{containerizer.name}; {why}", "process")


def _open_docker(
    kind: Kind, policy: ContainerPolicy, agent_id: AgentId, work_dir: Path, sink: EventSink, cluster: str
) -> Chosen:
    from .docker_containerizer import DockerContainerizer
    from .docker_engine import DockerEngine

    engine = DockerEngine.connect()
    try:
        image = policy.default_image
        why = f"image {image} is at hand"
        if kind == "auto" and not engine.has_image(image):
            try:
                engine.pull(image, cancelled=lambda: False)
            except MesoliteError as error:
                raise DockerUnavailable(f"image {image} is not on this host and cannot be pulled: {error}") from None
            why = f"image {image} was pulled"
        containerizer = DockerContainerizer(
            engine, policy=policy, agent_id=agent_id, work_dir=work_dir, sink=sink, cluster=cluster
        )
    except MesoliteError:
        engine.close()
        raise
    return Chosen(containerizer, f"{containerizer.name}; {why if kind == 'auto' else 'as configured'}", "docker")
