"""What the cores of futures want done, in this order."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.executors.python.calls import Outcome
from mesolite.ids import AgentId, ExecutorId, OfferId, TaskId
from mesolite.protocol import TaskInfo

from ..driver.scheduling import DeclineOffers, ReviveOffers, StateDemand
from .errors import CallError
from .held_record import HeldRecord
from .options import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchCalls:
    """Launch those calls that are still wanted when they are claimed; the others come back as `CallsWithdrawn`."""

    offer_ids: tuple[OfferId, ...]
    #: One for each number.
    tasks: tuple[TaskInfo, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSlots:
    """Launch workers."""

    offer_ids: tuple[OfferId, ...]
    tasks: tuple[TaskInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KillTask:
    """End a task."""

    task_id: TaskId
    #: How long it may go on with what it does; None: as its kill policy says.
    grace_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownExecutor:
    """End an executor that has nothing to do."""

    agent_id: AgentId
    executor_id: ExecutorId


@dataclass(frozen=True, slots=True, kw_only=True)
class EndCall:
    """A call has ended so."""

    number: int
    ending: Outcome | CallError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorUp:
    """An executor is being launched, for calls of this kind. How many workers it has it says itself."""

    executor_id: ExecutorId
    kind: Kind
    agent_id: AgentId
    #: Of the agent, as the offer said.
    hostname: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersChanged:
    """So many workers of an executor run now, without those that were asked to end; never said of one that is over."""

    executor_id: ExecutorId
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepExecutor:
    """Keep this for the framework's next life, before anything that follows is done. Only with `Holding.life`."""

    record: HeldRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainExecutor:
    """Give an executor no more calls, and say from then on how many it has (`CallsGiven`). Only with `Holding.drains`."""

    executor_id: ExecutorId


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentGone:
    """An agent is gone for good, with what lay in its block store."""

    agent_id: AgentId
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorOver:
    """An executor is over for good: it has begun no call that it has not spoken of, and will begin none."""

    executor_id: ExecutorId
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseKind:
    """No call of this kind can be run, now or later."""

    kind: Kind
    error: CallError


ClusterEffect: TypeAlias = StateDemand | DeclineOffers | ReviveOffers | KillTask | ShutdownExecutor
#: What is not the driver's to do.
FineRest: TypeAlias = LaunchCalls | EndCall
CoarseRest: TypeAlias = (
    LaunchSlots | KeepExecutor | ExecutorUp | WorkersChanged | DrainExecutor | ExecutorOver | AgentGone | RefuseKind
)
FineEffect: TypeAlias = ClusterEffect | FineRest
CoarseEffect: TypeAlias = ClusterEffect | CoarseRest
