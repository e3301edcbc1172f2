"""The things that messages are about: tasks, statuses, offers, agents, frameworks.

All are `gc=False`: they are frozen trees, which cannot hold a cycle, and tracking millions of them cost a third of the time.
Names follow the Mesos v1 API (`include/mesos/v1/mesos.proto`); units are last in ours. All are frozen and hold only what
travels. A value here may come from any peer: it is well typed, not yet checked.
"""

import enum
from typing import Final

from msgspec import Struct

from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, TaskId
from mesolite.resources import Resource


class TaskState(enum.Enum):
    """The life of a task (reference 1.7)."""

    STAGING = "TASK_STAGING"
    STARTING = "TASK_STARTING"
    RUNNING = "TASK_RUNNING"
    KILLING = "TASK_KILLING"
    FINISHED = "TASK_FINISHED"
    FAILED = "TASK_FAILED"
    KILLED = "TASK_KILLED"
    ERROR = "TASK_ERROR"
    DROPPED = "TASK_DROPPED"
    GONE = "TASK_GONE"
    GONE_BY_OPERATOR = "TASK_GONE_BY_OPERATOR"
    UNREACHABLE = "TASK_UNREACHABLE"
    UNKNOWN = "TASK_UNKNOWN"

    #: By identity, as they are compared. Enum's own hash is Python code, which every look at a table of states would pay for.
    __hash__ = object.__hash__


#: No further state follows one of these. UNREACHABLE and UNKNOWN are not among them: the task may still run.
TERMINAL_STATES: Final = frozenset(
    {
        TaskState.FINISHED,
        TaskState.FAILED,
        TaskState.KILLED,
        TaskState.ERROR,
        TaskState.DROPPED,
        TaskState.GONE,
        TaskState.GONE_BY_OPERATOR,
    }
)


class Source(enum.Enum):
    """Who made a status."""

    MASTER = "SOURCE_MASTER"
    AGENT = "SOURCE_AGENT"
    EXECUTOR = "SOURCE_EXECUTOR"


class Reason(enum.Enum):
    """Why a task is in its state (reference 1.7)."""

    COMMAND_EXECUTOR_FAILED = "REASON_COMMAND_EXECUTOR_FAILED"
    CONTAINER_LAUNCH_FAILED = "REASON_CONTAINER_LAUNCH_FAILED"
    CONTAINER_LIMITATION = "REASON_CONTAINER_LIMITATION"
    CONTAINER_LIMITATION_DISK = "REASON_CONTAINER_LIMITATION_DISK"
    CONTAINER_LIMITATION_MEMORY = "REASON_CONTAINER_LIMITATION_MEMORY"
    CONTAINER_PREEMPTED = "REASON_CONTAINER_PREEMPTED"
    MAX_COMPLETION_TIME_REACHED = "REASON_MAX_COMPLETION_TIME_REACHED"
    EXECUTOR_REGISTRATION_TIMEOUT = "REASON_EXECUTOR_REGISTRATION_TIMEOUT"
    EXECUTOR_REREGISTRATION_TIMEOUT = "REASON_EXECUTOR_REREGISTRATION_TIMEOUT"
    EXECUTOR_TERMINATED = "REASON_EXECUTOR_TERMINATED"
    FRAMEWORK_REMOVED = "REASON_FRAMEWORK_REMOVED"
    INVALID_OFFERS = "REASON_INVALID_OFFERS"
    RECONCILIATION = "REASON_RECONCILIATION"
    AGENT_DISCONNECTED = "REASON_AGENT_DISCONNECTED"
    AGENT_REMOVED = "REASON_AGENT_REMOVED"
    AGENT_REMOVED_BY_OPERATOR = "REASON_AGENT_REMOVED_BY_OPERATOR"
    AGENT_REREGISTERED = "REASON_AGENT_REREGISTERED"
    AGENT_RESTARTED = "REASON_AGENT_RESTARTED"
    AGENT_UNKNOWN = "REASON_AGENT_UNKNOWN"
    TASK_KILLED_DURING_LAUNCH = "REASON_TASK_KILLED_DURING_LAUNCH"
    TASK_GROUP_INVALID = "REASON_TASK_GROUP_INVALID"
    TASK_INVALID = "REASON_TASK_INVALID"
    TASK_UNAUTHORIZED = "REASON_TASK_UNAUTHORIZED"
    TASK_UNKNOWN = "REASON_TASK_UNKNOWN"


class Network(enum.Enum):
    """A container's network. HOST only where the agent's configuration allows it."""

    BRIDGE = "BRIDGE"
    HOST = "HOST"
    NONE = "NONE"


class Uri(Struct, frozen=True, gc=False, omit_defaults=True):
    """Something to fetch into the sandbox before the task starts (reference 1.17)."""

    value: str
    #: Make the file executable; then it is not extracted.
    executable: bool = False
    #: Extract archives, known by their ending.
    extract: bool = True
    #: Path inside the sandbox to fetch to; the URI's last part where absent.
    output_file: str | None = None


class Volume(Struct, frozen=True, gc=False, omit_defaults=True):
    """A host path in the container; only where the agent's configuration allows the path."""

    host_path: str
    container_path: str
    read_only: bool = True


class CommandInfo(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a task executes: `sh -c value` where `shell`, else `arguments` as they are (`value` is then the executable)."""

    value: str | None = None
    shell: bool = True
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    uris: tuple[Uri, ...] = ()
    user: str | None = None


class ContainerInfo(Struct, frozen=True, gc=False, omit_defaults=True):
    """The container around a task. No image: the agent's default image, or a plain process."""

    image: str | None = None
    network: Network = Network.BRIDGE
    volumes: tuple[Volume, ...] = ()
    privileged: bool = False
    force_pull_image: bool = False
    read_only_root: bool = False


class KillPolicy(Struct, frozen=True, gc=False, omit_defaults=True):
    """How a task is killed: SIGTERM, then SIGKILL after the grace period."""

    #: Mesos's default for command executors: 3 s (reference 1.13).
    grace_period_ms: int = 3000
    #: Of a task: SIGTERM is for its first process, which ends its children itself. So it always is with Docker; plain
    #: processes all hear it otherwise, as in Mesos. In the kill policy of a KILL it means nothing.
    first_process_only: bool = False


class ExecutorInfo(Struct, frozen=True, gc=False, omit_defaults=True):
    """A framework's own executor, shared by its tasks on one agent."""

    executor_id: ExecutorId
    command: CommandInfo
    resources: tuple[Resource, ...] = ()
    container: ContainerInfo | None = None
    name: str = ""
    shutdown_grace_period_ms: int = 5000
    labels: dict[str, str] = {}
    data: bytes = b""


class TaskInfo(Struct, frozen=True, gc=False, omit_defaults=True):
    """A task as its framework describes it. Exactly one of `command` and `executor` is set (T11)."""

    task_id: TaskId
    agent_id: AgentId
    name: str = ""
    resources: tuple[Resource, ...] = ()
    command: CommandInfo | None = None
    executor: ExecutorInfo | None = None
    container: ContainerInfo | None = None
    kill_policy: KillPolicy | None = None
    #: The task is killed, and FAILED, when it has run for so long.
    max_completion_time_ms: int | None = None
    labels: dict[str, str] = {}
    data: bytes = b""


class ContainerStatus(Struct, frozen=True, gc=False, omit_defaults=True):
    """What is known of the container behind a status."""

    container_id: ContainerId | None = None
    #: 0..255, 128 + signal where a signal ended it.
    exit_code: int | None = None
    peak_mem_bytes: int | None = None
    mem_limit_mib: int | None = None


class TaskStatus(Struct, frozen=True, gc=False, omit_defaults=True):
    """One word about a task. `uuid` is set where it must be acknowledged: always from agents, never from the master."""

    task_id: TaskId
    state: TaskState
    source: Source
    timestamp_ms: int
    agent_id: AgentId | None = None
    executor_id: ExecutorId | None = None
    reason: Reason | None = None
    message: str = ""
    uuid: bytes | None = None
    data: bytes = b""
    healthy: bool | None = None
    container_status: ContainerStatus | None = None
    #: When the master lost sight of the agent; with UNREACHABLE.
    unreachable_time_ms: int | None = None


class FrameworkInfo(Struct, frozen=True, gc=False, omit_defaults=True):
    """A framework as it describes itself. The id is its own choice (docs/decisions/ids-are-chosen-by-their-owner.md)."""

    framework_id: FrameworkId
    name: str
    user: str = ""
    roles: tuple[str, ...] = ("*",)
    #: How long its tasks outlive its scheduler's silence. Mesos's 0 kills everything at a restart (trap 9); ours is a day.
    failover_timeout_ms: int = 86_400_000
    hostname: str = ""
    webui_url: str = ""
    labels: dict[str, str] = {}
    #: Per role: offers smaller than every one of these sets are not made; replaces the master's default. Written like
    #: "cpus:0.5;mem:64".
    min_allocatable_resources: dict[str, tuple[str, ...]] = {}


class Attribute(Struct, frozen=True, gc=False, omit_defaults=True):
    """A fact about an agent, for frameworks to choose by. The text is as configured: `rack:a1`."""

    name: str
    text: str


class AgentInfo(Struct, frozen=True, gc=False, omit_defaults=True):
    """An agent as it describes itself."""

    agent_id: AgentId
    hostname: str
    #: Where its sandboxes can be read over HTTP: "http://127.0.0.1:5051".
    url: str = ""
    resources: tuple[Resource, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    #: For people: "docker 20.10, hard CPU and memory limits".
    containerizer: str = ""
    version: str = ""


class Offer(Struct, frozen=True, gc=False, omit_defaults=True):
    """Resources of one agent for one role of one framework, until accepted, declined, rescinded or timed out."""

    offer_id: OfferId
    framework_id: FrameworkId
    agent_id: AgentId
    hostname: str
    resources: tuple[Resource, ...]
    allocation_role: str
    agent_url: str = ""
    attributes: tuple[Attribute, ...] = ()
    executor_ids: tuple[ExecutorId, ...] = ()


class Filters(Struct, frozen=True, gc=False, omit_defaults=True):
    """How long what is left of an offer is not offered again to the same framework (reference 1.10)."""

    #: 0 sets no filter; negative means the default; above a year means a year.
    refuse_ms: int = 5000


class Demand(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a framework wants in one role: so many more of one shape (DESIGN 7)."""

    role: str
    #: Resources of one unit.
    shape: tuple[Resource, ...]
    #: How many units are wanted in all beyond what it holds.
    count: int
