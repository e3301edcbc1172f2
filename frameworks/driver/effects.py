"""What the driver's core wants done: callbacks of the scheduler, in this order, and batches for the master."""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.ids import AgentId, ExecutorId, OfferId
from mesolite.protocol import CallBatch, Demand, Failure, Offer, TaskStatus
from mesolite.resources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverSubscribed:
    """The subscription stands, for the first time or again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverDisconnected:
    """The subscription does not stand any more; all offers are void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverOffers:
    """Offers to accept or decline."""

    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverRescinded:
    """Offers, of those delivered, that are void now."""

    offer_ids: tuple[OfferId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverUpdates:
    """News of tasks, in order. Once the callback has returned, `UpdatesKept` follows (implicit acknowledgement)."""

    statuses: tuple[TaskStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverMessage:
    """Bytes from an executor."""

    agent_id: AgentId
    executor_id: ExecutorId
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverFailure:
    """An agent or an executor is gone."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverUnsatisfiable:
    """No agent is large enough for this shape."""

    demand: Demand
    largest: tuple[Resource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverCongestion:
    """Calls pile up on the way to the master, or do not any more."""

    congested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverWakeup:
    """The time that the scheduler asked for has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverError:
    """It is over; no more callbacks follow."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What the scheduler asked for makes no sense; nothing was done."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCalls:
    """Append this batch to the calls stream."""

    batch: CallBatch


Delivery: TypeAlias = (
    DeliverSubscribed
    | DeliverDisconnected
    | DeliverOffers
    | DeliverRescinded
    | DeliverUpdates
    | DeliverMessage
    | DeliverFailure
    | DeliverUnsatisfiable
    | DeliverCongestion
    | DeliverWakeup
    | DeliverError
)
DriverEffect: TypeAlias = Delivery | Refused | SendCalls
