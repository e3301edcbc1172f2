"""What one task of a job is: the same for all of them but for their index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from mesolite.errors import ConfigError, ResourceError
from mesolite.ids import AgentId, TaskId
from mesolite.protocol import CommandInfo, ContainerInfo, KillPolicy, Network, TaskInfo, Uri, Volume
from mesolite.resources import Resource, scalars

from ..driver.placement import Constraint, Shape
from .settings import DEFAULT_CPUS, DEFAULT_MEM_MIB


class TaskOptions(TypedDict, total=False):
    """What may be said of a task besides its command. Meanings, units and defaults are those of `TaskSpec`'s fields."""

    cpus: float
    mem_mib: float
    disk_mib: float
    gpus: float
    image: str | None
    env: Mapping[str, str]
    uris: Sequence[str | Uri]
    volumes: Sequence[Volume]
    network: Network
    user: str | None
    kill_policy: KillPolicy | None
    max_time_ms: int | None
    role: str
    constraints: Sequence[Constraint]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A task as its user describes it.

    Raises:
        ConfigError: There is no command, or a number is out of range.
        ResourceError: The resources mean nothing.
    """

    #: Text is given to `sh -c`; a sequence is executed as it is.
    command: str | Sequence[str]
    cpus: float = DEFAULT_CPUS
    mem_mib: float = DEFAULT_MEM_MIB
    disk_mib: float = 0
    gpus: float = 0
    #: The container's image; the agent's default, or a plain process, where absent.
    image: str | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    #: Fetched into the sandbox before the task starts. Text is a URI with everything else by default.
    uris: Sequence[str | Uri] = ()
    #: Host paths in the container; only where agents allow them.
    volumes: Sequence[Volume] = ()
    network: Network = Network.BRIDGE
    user: str | None = None
    kill_policy: KillPolicy | None = None
    #: The task is killed, and FAILED, after this long.
    max_time_ms: int | None = None
    #: The role whose share of the cluster it takes; one that the framework is registered in.
    role: str = "*"
    #: Where it may run.
    constraints: Sequence[Constraint] = ()
    #: For people and for Flower.
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    #: Made of the numbers above.
    shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        if not self.command:
            raise ConfigError("a task needs a command")
        if self.max_time_ms is not None and self.max_time_ms <= 0:
            raise ConfigError(f"max_time_ms is {self.max_time_ms}; more than 0")
        shape = scalars(cpus=self.cpus, mem_mib=self.mem_mib, disk_mib=self.disk_mib, gpus=self.gpus).to_wire()
        if not shape:
            raise ResourceError("a task needs some resources; give it cpus or mem_mib")
        object.__setattr__(self, "shape", shape)

    def template(self, name: str) -> "TaskTemplate":
        """Prepare everything that all tasks of a job share."""
        arguments: tuple[str, ...] = ()
        if isinstance(self.command, str):
            shell, value = True, self.command
        else:
            shell, value, arguments = False, self.command[0], tuple(self.command)
        container = None
        if self.image is not None or self.volumes or self.network is not Network.BRIDGE:
            container = ContainerInfo(image=self.image, network=self.network, volumes=tuple(self.volumes))
        return TaskTemplate(
            name=name,
            value=value,
            shell=shell,
            arguments=arguments,
            environment=dict(self.env),
            uris=tuple(Uri(uri) if isinstance(uri, str) else uri for uri in self.uris),
            user=self.user,
            container=container,
            kill_policy=self.kill_policy,
            max_time_ms=self.max_time_ms,
            labels=dict(self.labels),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTemplate:
    """A `TaskSpec` in the words of the wire, ready to be stamped out by the thousand."""

    name: str
    value: str
    shell: bool
    arguments: tuple[str, ...]
    environment: dict[str, str]
    uris: tuple[Uri, ...]
    user: str | None
    container: ContainerInfo | None
    kill_policy: KillPolicy | None
    max_time_ms: int | None
    labels: dict[str, str]

    def stamp(
        self, task_id: TaskId, agent_id: AgentId, resources: tuple[Resource, ...], own_environment: dict[str, str]
    ) -> TaskInfo:
        """Make one task. Its own variables win over the job's."""
        return TaskInfo(
            task_id=task_id,
            agent_id=agent_id,
            name=self.name,
            resources=resources,
            command=CommandInfo(
                value=self.value,
                shell=self.shell,
                arguments=self.arguments,
                environment={**self.environment, **own_environment},
                uris=self.uris,
                user=self.user,
            ),
            container=self.container,
            kill_policy=self.kill_policy,
            max_completion_time_ms=self.max_time_ms,
            labels=self.labels,
        )
