"""What comes into the driver's core: the master's batches, the scheduler's wishes, and time."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.protocol import (
    Accept,
    Call,
    Decline,
    EventBatch,
    Kill,
    Message,
    Reconcile,
    Revive,
    SetDemand,
    Shutdown,
    Suppress,
    TaskStatus,
    Teardown,
)

#: The calls that are the scheduler's to make. SUBSCRIBE, HEARTBEAT and ACKNOWLEDGE are the driver's own.
Request: TypeAlias = Accept | Decline | Kill | Message | Reconcile | Revive | SetDemand | Shutdown | Suppress | Teardown


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The scheduler is ready to be called."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchArrived:
    """The framework's stream has a batch."""

    now_ms: int
    batch: EventBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """The scheduler wants this call made."""

    now_ms: int
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatesKept:
    """The scheduler has these updates safe: acknowledge them."""

    now_ms: int
    statuses: tuple[TaskStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeupRequested:
    """The scheduler wants to be woken; an earlier wish stands if it is sooner."""

    now_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReturned:
    """Redis answers again after it did not. It may have been replaced by a copy that lacks the newest calls or events."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsImpossible:
    """These calls can never be sent, because they are too large to travel."""

    now_ms: int
    calls: tuple[Call, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time passed."""

    now_ms: int
    #: Random, 0 <= jitter < 1.
    jitter: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed:
    """Everything that came in is dealt with: let out what is to be sent."""

    now_ms: int


DriverEvent: TypeAlias = (
    Started
    | BatchArrived
    | Requested
    | UpdatesKept
    | WakeupRequested
    | StoreReturned
    | CallsImpossible
    | Ticked
    | Flushed
)
