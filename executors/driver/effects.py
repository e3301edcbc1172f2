"""What an executor's core wants done: by the shell, or by calling the author's callbacks. In the order of the list."""

from dataclasses import dataclass
from typing import TypeAlias

from .protocol import ExecutorMessage, Subscribed, Task, TaskId


@dataclass(frozen=True, slots=True)
class Connect:
    """Try the agent's socket once; `Connected` or `ConnectFailed` answers."""


@dataclass(frozen=True, slots=True)
class Say:
    """Send these on the connection that stands."""

    messages: tuple[ExecutorMessage, ...]


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection; nothing answers."""

    why: str


@dataclass(frozen=True, slots=True)
class TellSubscribed:
    """The subscription stands, for the first time or again."""

    subscribed: Subscribed


@dataclass(frozen=True, slots=True)
class TellDisconnected:
    """A subscription that stood does not any more."""

    why: str


@dataclass(frozen=True, slots=True)
class TellLaunch:
    """Start these; each task id comes once."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class TellLaunchGroup:
    """Start these, all or none."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class TellKill:
    """End a task that lives; comes again where the grace became shorter."""

    task_id: TaskId
    grace_ms: int


@dataclass(frozen=True, slots=True)
class TellMessage:
    """The scheduler sent bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class TellResized:
    """The container has other limits now."""

    cpus: float
    mem_mib: int


@dataclass(frozen=True, slots=True)
class TellShutdown:
    """End all tasks and report them; comes once."""

    grace_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class TellError:
    """The agent took offence, or cannot be understood."""

    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A report that cannot be: of a task that ended before, that is unknown, or that goes backward. Nothing was changed."""

    task_id: TaskId
    why: str


@dataclass(frozen=True, slots=True)
class Exit:
    """It is over; nothing else will be wanted."""

    code: int
    why: str


Effect: TypeAlias = (
    Connect
    | Say
    | HangUp
    | TellSubscribed
    | TellDisconnected
    | TellLaunch
    | TellLaunchGroup
    | TellKill
    | TellMessage
    | TellResized
    | TellShutdown
    | TellError
    | Refused
    | Exit
)
