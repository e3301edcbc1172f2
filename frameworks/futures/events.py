"""What the cores of futures hear."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from mesolite.ids import AgentId, ExecutorId, OfferId

from ..driver.scheduling import Offered, Ticked, TooLarge, Updated
from .held_record import HeldRecord
from .options import Kind


@dataclass(frozen=True, slots=True)
class FineCall:
    """A call that is to be a task."""

    number: int
    #: The function's, for people.
    name: str
    kind: Kind
    #: `TaskInfo.data`.
    data: bytes
    retries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsArrived:
    """Calls were submitted."""

    now_ms: int
    calls: tuple[FineCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsWithdrawn:
    """Calls were cancelled that were not claimed: they are not launched, or were not although it was asked for."""

    now_ms: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKilled:
    """A call is to end though it runs."""

    now_ms: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadChanged:
    """So many calls of a kind have not ended."""

    now_ms: int
    kind: Kind
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsGiven:
    """So many calls each executor has that has any; counted after every `DrainExecutor` that was said before was carried out."""

    now_ms: int
    calls: Mapping[ExecutorId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """An earlier life of the framework had these executors; what became of their workers the master will say."""

    now_ms: int
    records: tuple[HeldRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """These executors have said nothing for too long of calls that they were asked for."""

    now_ms: int
    executor_ids: tuple[ExecutorId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescinded:
    """Offers are void."""

    now_ms: int
    offer_ids: tuple[OfferId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorEnded:
    """An executor is over; or its agent, and every executor on it, where `executor_id` is None."""

    now_ms: int
    agent_id: AgentId
    executor_id: ExecutorId | None
    exit_code: int | None
    message: str


ClusterEvent: TypeAlias = Offered | Rescinded | Updated | ExecutorEnded | TooLarge | Ticked
FineEvent: TypeAlias = ClusterEvent | CallsArrived | CallsWithdrawn | CallKilled
CoarseEvent: TypeAlias = ClusterEvent | LoadChanged | CallsGiven | Adopted | Silent
