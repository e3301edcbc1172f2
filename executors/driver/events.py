"""What may happen to an executor, as its core is told: each carries the moment, on a clock that only goes forward."""

from dataclasses import dataclass
from typing import TypeAlias

from .protocol import AgentMessage, TaskId, Totals
from .states import Reason, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The executor begins."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The agent's socket took the connection that was asked for."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectFailed:
    """It did not: no agent listens now."""

    now_ms: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """The connection is over, by the agent or by what lies between; never said of one that the core hung up."""

    now_ms: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpoke:
    """These came over the connection, in this order."""

    now_ms: int
    #: Milliseconds since 1970, for updates that answer: travels, and is not looked at here.
    timestamp_ms: int
    messages: tuple[AgentMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentBabbled:
    """What came over the connection is no message, or too long a line."""

    now_ms: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReported:
    """The executor's author says what became of a task. Its texts and data are within the protocol's limits."""

    now_ms: int
    #: Milliseconds since 1970: travels, and is not looked at here.
    timestamp_ms: int
    task_id: TaskId
    state: State
    message: str = ""
    reason: Reason | None = None
    data: bytes = b""
    healthy: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageGiven:
    """The executor's author has bytes for the scheduler, within the protocol's limit."""

    now_ms: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalsCounted:
    """The executor's author has new sums."""

    now_ms: int
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAsked:
    """The container is told to end by a signal, behind the agent's back or because the agent has lost patience."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePassed:
    """The moment that `ExecutorCore.deadline_ms` named has come, or may have."""

    now_ms: int


Event: TypeAlias = (
    Started
    | Connected
    | ConnectFailed
    | Disconnected
    | AgentSpoke
    | AgentBabbled
    | TaskReported
    | MessageGiven
    | TotalsCounted
    | EndAsked
    | TimePassed
)
