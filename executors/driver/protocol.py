"""What an executor and its agent say to each other, for programs that have the standard library only (docs/executor-protocol.md).

The same messages as in `mesolite/protocol/executor.py`, whose types an agent uses; a test holds both together. Named tuples: they
are made thousands of times a second, and a frozen dataclass takes three times as long to make. The codec is in codec.py.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from .states import Reason, State

#: Raised when a message changes its meaning; new optional fields do not raise it.
PROTOCOL_VERSION: Final = 1
#: The longest line either side takes; whoever sends a longer one is cut off.
MAX_LINE_BYTES: Final = 8 * 1024 * 1024
#: The most data of one update or message, before base64.
MAX_DATA_BYTES: Final = 1024 * 1024
#: An update's own name: 1 to so many printable characters, new for each update of a task.
MAX_UPDATE_ID_LENGTH: Final = 64
#: Of an update's message the driver says no more: a person reads it. A traceback that is longer says its end in `data`.
MAX_MESSAGE_LENGTH: Final = 16 * 1024

TaskId: TypeAlias = str

NO_SCALARS: Final[Mapping[str, float]] = {}
NO_RANGES: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {}
NO_LABELS: Final[Mapping[str, str]] = {}


class Task(NamedTuple):
    """A task as its executor is told of it."""

    task_id: TaskId
    name: str = ""
    #: In whole units: {"cpus": 0.5, "mem": 64}. For the executor to share out; the container's limits are the sum.
    resources: Mapping[str, float] = NO_SCALARS
    #: Like ports: {"ports": ((31000, 31001),)}.
    ranges: Mapping[str, tuple[tuple[int, int], ...]] = NO_RANGES
    #: How long between asking it to end and ending it, where the KILL does not say.
    kill_grace_ms: int = 3000
    labels: Mapping[str, str] = NO_LABELS
    data: bytes = b""


# What the executor is told.


class Subscribed(NamedTuple):
    """The agent listens: the answer to each SUBSCRIBE."""

    version: int
    framework_id: str
    executor_id: str
    agent_id: str
    container_id: str
    hostname: str = ""
    #: Of the container, all tasks included; told again with RESIZED.
    cpus: float = 0.0
    mem_mib: int = 0
    #: `ExecutorInfo.data`.
    data: bytes = b""


class Launch(NamedTuple):
    """Start a task."""

    task: Task


class LaunchGroup(NamedTuple):
    """Start these tasks, all or none."""

    tasks: tuple[Task, ...]


class Kill(NamedTuple):
    """End a task: ask it, and end it after the grace. Its last update says KILLED. May be repeated with less grace."""

    task_id: TaskId
    grace_ms: int


class Acknowledged(NamedTuple):
    """The agent has this update on disk, or has no use for it: forget it."""

    task_id: TaskId
    update_id: str


class Resized(NamedTuple):
    """The container's limits are these now, because tasks came or went."""

    cpus: float
    mem_mib: int


class Heard(NamedTuple):
    """Bytes from the framework's scheduler, best effort."""

    data: bytes


class Shutdown(NamedTuple):
    """End all tasks, report them, and exit; the container is killed after the grace."""

    grace_ms: int


class Error(NamedTuple):
    """What the executor said cannot be taken, and why; the agent hangs up after it."""

    message: str


AgentMessage: TypeAlias = Subscribed | Launch | LaunchGroup | Kill | Acknowledged | Resized | Heard | Shutdown | Error


# What the executor says.


class Update(NamedTuple):
    """A task's new state. Said again on each connection until ACKNOWLEDGED."""

    task_id: TaskId
    state: State
    #: Tells this update from others of its task (Mesos's uuid): any text of 1 to MAX_UPDATE_ID_LENGTH characters.
    update_id: str
    timestamp_ms: int = 0
    message: str = ""
    reason: Reason | None = None
    data: bytes = b""
    healthy: bool | None = None


class Subscribe(NamedTuple):
    """The first line of every connection. All that the executor has and the agent may not know of."""

    version: int = PROTOCOL_VERSION
    #: Tasks it was told to launch of which no update was ACKNOWLEDGED. What the agent sent and is not among these got lost.
    unacknowledged_tasks: tuple[TaskId, ...] = ()
    #: In the order in which they arose; those that do not fit follow as updates of their own.
    unacknowledged_updates: tuple[Update, ...] = ()


class Said(NamedTuple):
    """Bytes for the framework's scheduler, best effort."""

    data: bytes


class Totals(NamedTuple):
    """Work that the executor does without a task for each piece: sums since it started, for those who watch (Flower)."""

    succeeded: int = 0
    failed: int = 0
    #: Running now.
    active: int = 0


class Heartbeat(NamedTuple):
    """The executor is alive; never needed."""


ExecutorMessage: TypeAlias = Subscribe | Update | Said | Totals | Heartbeat
