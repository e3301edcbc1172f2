"""What `CoarseCore` remembers of each worker and of each kind of calls, and what it says of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mesolite.executors.python.calls import Outcome
from mesolite.executors.python.tasks import SLOT_DATA
from mesolite.ids import ExecutorId, TaskId
from mesolite.protocol import Demand, Reason, TaskInfo, TaskState, TaskStatus
from mesolite.resources import Resource, Resources

from ..driver.scheduling import TooLarge
from .endings import end_without_word
from .errors import CallError, TooLargeForCluster
from .executors import HeldExecutor
from .held_record import HeldRecord
from .holding import Holding
from .options import Kind
from .programs import shape_with_executor
from .settings import LOOK_MS

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
#: A worker of which this is the newest word may be of an executor that does not run yet.
UNSTARTED_STATES: Final = frozenset({TaskState.STAGING, TaskState.STARTING})


@dataclass(slots=True, eq=False)
class Slot:
    """One worker that is held, or on its way."""

    kind: Kind
    executor_id: ExecutorId
    running: bool = False
    #: The newest word of it is that its executor does not run yet: an image may take minutes.
    starting: bool = False
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


def slot_task(task_id: TaskId, name: str, executor: HeldExecutor[Kind], share: tuple[Resource, ...]) -> TaskInfo:
    """A worker, as it is launched."""
    return TaskInfo(
        task_id=task_id,
        agent_id=executor.agent_id,
        name=name,
        resources=share,
        executor=executor.info,
        data=SLOT_DATA,
    )


def error_of(status: TaskStatus) -> CallError:
    """Why a worker ended before it ran."""
    ending = end_without_word(status)
    return CallError(ending.message) if isinstance(ending, Outcome) else ending


def working(kind: Kind, slots: Mapping[TaskId, Slot]) -> int:
    """How many workers of a kind run, without those that are to go."""
    return sum(slot.kind == kind and slot.counts and slot.running for slot in slots.values())


def surpluses(loads: Iterable[Load]) -> Iterator[int]:
    """Since when more workers are held than needed, where they are."""
    return (load.surplus_since_ms for load in loads if load.surplus_since_ms is not None)


def record_of(held: HeldExecutor[Kind]) -> HeldRecord:
    """As the next life is to find it."""
    return HeldRecord(
        held.info,
        held.agent_id,
        held.hostname,
        held.sort,
        tuple(held.tasks),
        held.launched_ms,
        leaving=held.leaving,
    )


def ages(executors: Iterable[HeldExecutor[Kind]], looked_ms: int, max_age_ms: int | None) -> Iterator[int]:
    """When something is to be done about what is old, or leaves, or that nobody needs."""
    for held in executors:
        yield from held.deadlines()
        if held.leaving:
            continue
        if held.draining or held.retiring_since_ms is not None:
            yield looked_ms + LOOK_MS
        elif max_age_ms is not None:
            yield max(held.launched_ms + max_age_ms, looked_ms + LOOK_MS)


def first_to_go(
    kind: Kind, slots: Mapping[TaskId, Slot], executors: Iterable[HeldExecutor[Kind]]
) -> list[tuple[TaskId, Slot]]:
    """Workers of a kind, in the order in which they are to end: those that have no calls, and of the executors with the fewest
    first, so that whole ones become free.
    """
    workers = [(task_id, slot) for task_id, slot in slots.items() if slot.kind == kind and slot.counts]
    ranks = {held.executor_id: (held.calls > 0, len(held.tasks)) for held in executors}
    return sorted(workers, key=lambda each: (ranks[each[1].executor_id], each[1].executor_id))


def is_meant(event: TooLarge, kind: Kind, holding: Holding) -> bool:
    """Whether what no agent has is what one worker of a kind asks for, with or without its executor."""
    larger = shape_with_executor(kind, holding.share)
    return kind.role == event.demand.role and set(event.demand.shape) in (set(kind.shape), set(larger))


def too_large(event: TooLarge) -> TooLargeForCluster:
    """Say that no agent is large enough for one unit."""
    asked, largest = Resources.of(event.demand.shape), Resources.of(event.largest).unallocated()
    return TooLargeForCluster(f"no agent is large enough: it asks for {asked}, and the largest agent has {largest}")
