"""What `CoarseCore` remembers of each worker and of each kind of calls, and what it says of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mesolite.ids import ExecutorId
from mesolite.protocol import Demand, Reason
from mesolite.resources import Resources

from .errors import TooLargeForCluster
from .events import TooLarge
from .holding import Holding
from .options import Kind
from .programs import shape_with_executor

#: A slot that ended for one of these took its executor with it.
EXECUTOR_IS_OVER: Final = frozenset(
    {
        Reason.EXECUTOR_TERMINATED,
        Reason.EXECUTOR_REGISTRATION_TIMEOUT,
        Reason.EXECUTOR_REREGISTRATION_TIMEOUT,
        Reason.CONTAINER_LIMITATION_MEMORY,
        Reason.CONTAINER_LAUNCH_FAILED,
        Reason.AGENT_REMOVED,
        Reason.AGENT_REMOVED_BY_OPERATOR,
    }
)


@dataclass(slots=True, eq=False)
class Slot:
    """One worker that is held, or on its way."""

    kind: Kind
    executor_id: ExecutorId
    running: bool = False
    #: It was asked to end after its call, or its executor was.
    leaving: bool = False
    #: Its executor is too old: it works on until another has taken its place, and is counted no more.
    retiring: bool = False
    deadline_ms: int | None = None

    @property
    def counts(self) -> bool:
        """Whether it is one of those that are held."""
        return not (self.leaving or self.retiring)


@dataclass(slots=True, eq=False)
class Load:
    """What a kind of calls needs."""

    #: Calls that have not ended.
    calls: int = 0
    #: Since when more workers are held than needed; None while they are not.
    surplus_since_ms: int | None = None
    #: The most that were needed since then.
    peak: int = 0
    #: Executors that ended, one after the other, before any worker of theirs ran.
    failed: int = 0
    #: What the last of them had to say.
    why: str = ""


def demands_for(kind: Kind, needed: int, holding: Holding) -> Iterator[Demand]:
    """What is asked for where so many workers of a kind are needed."""
    together = holding.workers_per_executor
    # One of them may go to an agent that has no executor yet; what it does not need goes back.
    fresh = min(needed, 1) if together is None else -(-needed // together)
    if fresh:
        yield Demand(role=kind.role, shape=shape_with_executor(kind, holding.share), count=fresh)
    if needed > fresh:
        yield Demand(role=kind.role, shape=kind.shape, count=needed - fresh)


def too_large(event: TooLarge) -> TooLargeForCluster:
    """Say that no agent is large enough for one unit."""
    asked, largest = Resources.of(event.demand.shape), Resources.of(event.largest).unallocated()
    return TooLargeForCluster(f"no agent is large enough: it asks for {asked}, and the largest agent has {largest}")
