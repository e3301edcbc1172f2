"""Events: what the master says to one framework, on the stream `framework:<id>` (reference 1.2)."""

from typing import TypeAlias

from msgspec import Struct

from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, OfferId
from mesolite.resources import Resource

from .common import Demand, Offer, TaskStatus


class Subscribed(Struct, frozen=True, gc=False, tag="SUBSCRIBED"):
    """The subscription stands."""

    framework_id: FrameworkId
    #: Say Heartbeat at least so often.
    heartbeat_interval_ms: int


class Offers(Struct, frozen=True, gc=False, tag="OFFERS"):
    """Resources to use or decline."""

    offers: tuple[Offer, ...]


class Rescind(Struct, frozen=True, gc=False, tag="RESCIND"):
    """Offers that are void now."""

    offer_ids: tuple[OfferId, ...]


class Update(Struct, frozen=True, gc=False, tag="UPDATE"):
    """A task's state changed, or was asked for. Acknowledge it where its status carries a uuid."""

    status: TaskStatus


class Failure(Struct, frozen=True, gc=False, tag="FAILURE", omit_defaults=True):
    """An agent was removed or, with an executor id, an executor ended. For information."""

    agent_id: AgentId
    executor_id: ExecutorId | None = None
    exit_code: int | None = None
    #: Which life of the executor ended, where its agent said so.
    container_id: ContainerId | None = None
    #: For people: how it ended.
    message: str = ""


class ErrorEvent(Struct, frozen=True, gc=False, tag="ERROR"):
    """The subscription is over for good; the scheduler must stop using this id."""

    message: str


class Resubscribe(Struct, frozen=True, gc=False, tag="RESUBSCRIBE"):
    """The master does not know this subscription (it has just begun to lead, or timed it out): subscribe again."""


class UnsatisfiableDemand(Struct, frozen=True, gc=False, tag="UNSATISFIABLE_DEMAND"):
    """No agent of the cluster is large enough for one unit of this demand, even when it is empty."""

    demand: Demand
    #: All resources of the largest agent.
    largest: tuple[Resource, ...]


class FrameworkMessage(Struct, frozen=True, gc=False, tag="MESSAGE"):
    """Bytes from an executor: best effort."""

    agent_id: AgentId
    executor_id: ExecutorId
    data: bytes


class HeartbeatEvent(Struct, frozen=True, gc=False, tag="HEARTBEAT"):
    """The master is alive."""


Event: TypeAlias = (
    Subscribed
    | Offers
    | Rescind
    | Update
    | Failure
    | ErrorEvent
    | Resubscribe
    | UnsatisfiableDemand
    | FrameworkMessage
    | HeartbeatEvent
)
