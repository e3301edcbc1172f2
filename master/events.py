"""What comes into the master's core. Every event carries the time; a batch ends with a `Tick`, which lets messages out."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.ids import AgentId, FrameworkId, TaskId
from mesolite.protocol import CallBatch, Malformed, ReportBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsArrived:
    """A framework spoke."""

    now_ms: int
    #: Who wrote it, proved by the stream it stood in (DESIGN 6).
    principal: str
    batch: CallBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsArrived:
    """An agent spoke."""

    now_ms: int
    principal: str
    batch: ReportBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbageArrived:
    """Something on a stream that is no message, or not one of this version."""

    now_ms: int
    principal: str
    #: The stream it stood in.
    stream: str
    malformed: Malformed


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorKilled:
    """An operator wants a task killed."""

    now_ms: int
    framework_id: FrameworkId
    task_id: TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorToreDown:
    """An operator wants a framework ended."""

    now_ms: int
    framework_id: FrameworkId


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorMarkedGone:
    """An operator says that an agent will not come back (MARK_AGENT_GONE, reference 1.15)."""

    now_ms: int
    agent_id: AgentId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningResumed:
    """The store answers again after a time in which nobody could be heard."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A batch of inputs ends: time passes, resources are allocated, and all that is to be said goes out."""

    now_ms: int


MasterEvent: TypeAlias = (
    CallsArrived
    | ReportsArrived
    | GarbageArrived
    | OperatorKilled
    | OperatorToreDown
    | OperatorMarkedGone
    | ListeningResumed
    | Tick
)
