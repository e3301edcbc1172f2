"""What a containerizer gives the agent's shell: start, signal and find containers; outcomes come back as events.

A containerizer decides nothing about tasks. It is told what to run (`ContainerSpec`), reports what happened
(`ContainerEvent`), and can list what already runs (`recover`), because containers outlive the agent process. The Docker
and the process containerizer and the fake pass one contract suite (tests/contract).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from mesolite.ids import ContainerId
from mesolite.protocol import Network, Uri, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """All that is needed to run one container; made by the command executor from a task."""

    container_id: ContainerId
    #: What to execute: an argument vector, never parsed by a shell here.
    argv: tuple[str, ...]
    #: The task's own variables plus MESOS_SANDBOX and the like; nothing is inherited from the agent but PATH, LANG (process
    #: containerizer) or what the image sets (Docker).
    environment: Mapping[str, str]
    #: The sandbox directory on the host. Exists, writable by the task's user; stdout and stderr are files in it.
    sandbox: Path
    #: Hard CPU quota in thousandths of a CPU, at least 10.
    cpus_milli: int
    #: Hard memory limit (swap included) in MiB, at least 4.
    mem_mib: int
    #: None runs a plain process; the Docker containerizer then uses its default image.
    image: str | None
    #: "uid[:gid]" or a name; None means the containerizer's default, which is not root.
    user: str | None = None
    #: Fetched into the sandbox before anything starts.
    uris: Sequence[Uri] = ()
    volumes: Sequence[Volume] = ()
    network: Network = Network.BRIDGE
    privileged: bool = False
    force_pull_image: bool = False
    read_only_root: bool = False
    #: Identity: found again by these after the agent process restarts.
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    #: An executor's: the directory of the sockets by which it reaches the agent. Inside it lies at SOCKETS_MOUNT, read-only, and
    #: a plain process finds it relative to its sandbox (paths of sockets are short); `MESOS_DOMAIN_SOCKET` names the socket of
    #: the executor protocol in it, `MESOLITE_SOCKETS` the directory. None for a task without an executor.
    socket_dir: Path | None = None
    #: An executor's: the directory with the Python executor, inside at BUNDLE_MOUNT, read-only; `MESOLITE_BUNDLE` names it.
    bundle_dir: Path | None = None
    #: SIGTERM is for the first process alone (`KillPolicy.first_process_only`).
    ends_first_process: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPreparing:
    """Fetching or pulling has begun: the task shows as STARTING. Sent at most once, only where something is fetched or pulled."""

    container_id: ContainerId
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStarted:
    """The first process runs."""

    container_id: ContainerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLaunchFailed:
    """Nothing runs and nothing is left behind; no other event follows for this container."""

    container_id: ContainerId
    #: "fetch": an URI; "image": pull or lookup; "start": everything else, a missing executable for one.
    stage: Literal["fetch", "image", "start"]
    #: For the user: names the URI, the image or the executable.
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerExited:
    """The container ended, its output is complete in the sandbox, and nothing of it runs.

    Said again in the agent's next life unless this one says `forget`: the agent may die before it has written this down.
    """

    container_id: ContainerId
    #: 0..255; a signal's death is 128 + its number, as shells say. None when it could not be learnt.
    exit_code: int | None
    #: The memory limit killed a process of it.
    oom_killed: bool
    #: Highest memory seen, in bytes; None when not measured.
    peak_mem_bytes: int | None
    #: Anything worth telling the user.
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerResizeFailed:
    """New limits could not be set, all or some of them; it runs on. Less memory than is in use is the usual reason."""

    container_id: ContainerId
    message: str


ContainerEvent: TypeAlias = (
    ContainerPreparing | ContainerStarted | ContainerLaunchFailed | ContainerExited | ContainerResizeFailed
)

#: Called from any thread; must not block.
EventSink: TypeAlias = Callable[[ContainerEvent], None]


class Containerizer(Protocol):
    """Runs containers. All methods return at once; outcomes arrive at the sink given at construction."""

    @property
    def name(self) -> str:
        """ "docker", "process" or "fake", and how limits are enforced: for people."""
        ...

    @property
    def trouble(self) -> str:
        """Why it can start and end nothing at the moment, for people; empty while it can. Looked at now and then."""
        ...

    def launch(self, spec: ContainerSpec) -> None:
        """Start a container. Launching an id that already runs is ignored."""
        ...

    def kill(self, container_id: ContainerId, *, grace_ms: int) -> None:
        """Ask it to end (SIGTERM), and end it (SIGKILL) after the grace. Unknown or ended: ignored.

        A second call may shorten the grace. A container still being prepared ends with `ContainerExited` and exit code
        None, or `ContainerLaunchFailed`.
        """
        ...

    def resize(self, container_id: ContainerId, *, cpus_milli: int, mem_mib: int) -> None:
        """Give a container other limits while it runs (units as in `ContainerSpec`); one that is still starting gets them then.

        Done in the order of asking; the newest word counts. Unknown or ended: ignored. Failure gives `ContainerResizeFailed`.
        """
        ...

    def recover(self) -> list[ContainerId]:
        """Adopt the containers of this agent that survive from an earlier life of its process, or ended and were not forgotten.

        Every id returned later gives a `ContainerExited` (at once, where it ended meanwhile), and can be killed. Called
        once, before any launch.
        """
        ...

    def forget(self, container_ids: Sequence[ContainerId]) -> None:
        """Remove what is left of containers whose `ContainerExited` is written down for good. Unknown ones are ignored."""
        ...

    def close(self) -> None:
        """Stop watching; running containers run on."""
        ...
