"""What an agent and an executor say to one another, over the unix socket in the executor's container (docs/executor-protocol.md).

One JSON object to a line, so that an executor can be written in any language with what it has; many lines in one write are a
batch. Kinds and their meaning are those of Mesos's executor API (reference 1.5). The socket is the identity: an agent makes one
for each executor, so no message names who speaks. Bytes are base64, times milliseconds.

An executor's updates are kept by it until ACKNOWLEDGED, which the agent says once they are on its disk. After a connection broke
the executor connects again, as often as it takes, and says SUBSCRIBE with whatever it keeps.
"""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, TaskId

from .common import Reason, TaskState

#: Raised when a message changes its meaning; new optional fields do not raise it.
EXECUTOR_PROTOCOL_VERSION: Final = 1
#: The longest line either side takes; whoever sends a longer one is cut off.
MAX_LINE_BYTES: Final = 8 * 1024 * 1024
#: The most data of one update or message, before base64: it goes through Redis, the master and the framework's driver.
MAX_EXECUTOR_DATA_BYTES: Final = 1024 * 1024
#: An update's own name, chosen by the executor: 1 to so many printable characters, new for each update of a task.
MAX_UPDATE_ID_LENGTH: Final = 64
#: States that an executor may report (X1): the rest is the agent's or the master's to say.
REPORTABLE_STATES: Final = frozenset(
    {
        TaskState.STARTING,
        TaskState.RUNNING,
        TaskState.KILLING,
        TaskState.FINISHED,
        TaskState.FAILED,
        TaskState.KILLED,
        TaskState.ERROR,
        TaskState.DROPPED,
    }
)


#: JSON knows numbers without end; what is kept or sent on is not larger than an integer of 64 bits.
Natural: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class ExecutorTask(Struct, frozen=True, gc=False, omit_defaults=True):
    """A task as its executor is told of it."""

    task_id: TaskId
    name: str = ""
    #: In whole units: {"cpus": 0.5, "mem": 64}. For the executor to share out; the container's limits are the sum.
    resources: dict[str, float] = {}
    #: Like ports: {"ports": [[31000, 31001]]}.
    ranges: dict[str, tuple[tuple[int, int], ...]] = {}
    #: How long between asking it to end and ending it, where the KILL does not say.
    kill_grace_ms: int = 3000
    labels: dict[str, str] = {}
    data: bytes = b""


# What the executor is told.


class ExecutorSubscribed(Struct, frozen=True, gc=False, tag="SUBSCRIBED", omit_defaults=True):
    """The agent listens: the answer to each SUBSCRIBE."""

    version: int
    framework_id: FrameworkId
    executor_id: ExecutorId
    agent_id: AgentId
    container_id: ContainerId
    hostname: str = ""
    #: Of the container, all tasks included; told again with RESIZED.
    cpus: float = 0.0
    mem_mib: int = 0
    #: `ExecutorInfo.data`.
    data: bytes = b""


class ExecutorLaunch(Struct, frozen=True, gc=False, tag="LAUNCH"):
    """Start a task."""

    task: ExecutorTask


class ExecutorLaunchGroup(Struct, frozen=True, gc=False, tag="LAUNCH_GROUP"):
    """Start these tasks, all or none."""

    tasks: tuple[ExecutorTask, ...]


class ExecutorKill(Struct, frozen=True, gc=False, tag="KILL"):
    """End a task: ask it, and end it after the grace. Its last update says KILLED. May be repeated with less grace."""

    task_id: TaskId
    grace_ms: int


class ExecutorAcknowledged(Struct, frozen=True, gc=False, tag="ACKNOWLEDGED"):
    """The agent has this update on disk, or has no use for it: forget it."""

    task_id: TaskId
    update_id: str


class ExecutorResized(Struct, frozen=True, gc=False, tag="RESIZED"):
    """The container's limits are these now, because tasks came or went."""

    cpus: float
    mem_mib: int


class ExecutorHeard(Struct, frozen=True, gc=False, tag="MESSAGE"):
    """Bytes from the framework's scheduler, best effort."""

    data: bytes


class ExecutorShutdown(Struct, frozen=True, gc=False, tag="SHUTDOWN"):
    """End all tasks, report them, and exit; the container is killed after the grace."""

    grace_ms: int


class ExecutorError(Struct, frozen=True, gc=False, tag="ERROR"):
    """What the executor said cannot be taken, and why; the agent hangs up after it."""

    message: str


ExecutorEvent: TypeAlias = (
    ExecutorSubscribed
    | ExecutorLaunch
    | ExecutorLaunchGroup
    | ExecutorKill
    | ExecutorAcknowledged
    | ExecutorResized
    | ExecutorHeard
    | ExecutorShutdown
    | ExecutorError
)


# What the executor says.


class ExecutorUpdate(Struct, frozen=True, gc=False, tag="UPDATE", omit_defaults=True):
    """A task's new state. Sent again after each SUBSCRIBE, inside it, until ACKNOWLEDGED."""

    task_id: TaskId
    state: TaskState
    #: Tells this update from others of its task (Mesos's uuid): any text of 1 to MAX_UPDATE_ID_LENGTH characters.
    update_id: str
    timestamp_ms: Natural = 0
    message: str = ""
    reason: Reason | None = None
    data: bytes = b""
    healthy: bool | None = None


class ExecutorSubscribe(Struct, frozen=True, gc=False, tag="SUBSCRIBE", omit_defaults=True):
    """The first line of every connection. All that the executor has and the agent may not know of."""

    version: Natural = EXECUTOR_PROTOCOL_VERSION
    #: Tasks it was told to launch of which no update was ACKNOWLEDGED. What the agent sent and is not among these got lost.
    unacknowledged_tasks: tuple[TaskId, ...] = ()
    #: In the order in which they arose.
    unacknowledged_updates: tuple[ExecutorUpdate, ...] = ()


class ExecutorSaid(Struct, frozen=True, gc=False, tag="MESSAGE"):
    """Bytes for the framework's scheduler, best effort."""

    data: bytes


class ExecutorTotals(Struct, frozen=True, gc=False, tag="TOTALS", omit_defaults=True):
    """Work that the executor does without a task for each piece: sums since it started, for those who watch (Flower)."""

    succeeded: Natural = 0
    failed: Natural = 0
    #: Running now.
    active: Natural = 0


class ExecutorHeartbeat(Struct, frozen=True, gc=False, tag="HEARTBEAT"):
    """The executor is alive; never needed."""


ExecutorCall: TypeAlias = ExecutorSubscribe | ExecutorUpdate | ExecutorSaid | ExecutorTotals | ExecutorHeartbeat
