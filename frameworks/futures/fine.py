"""Fine-grained calls: each is a task. Calls, offers and updates in; launches and ends out.

Every call that arrives ends once. What keeps that true is one map, from the ids of attempts that count to their calls: an
attempt enters it when its launch is asked for and leaves it when it has ended or is given up, and words about other ids
change nothing, except that what lives and does not count is killed. An attempt that may have begun is followed by another
only where the call's `retries` allow it; one that certainly did not, always, within reason.

While calls come one by one a small demand stands for the next, and what is offered for it is kept at hand (`WARM_MS`): a
call that had to wait for an offer would take twice as long.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from mesolite.executors.python.calls import End, Outcome
from mesolite.ids import AgentId, ExecutorId, OfferId, TaskId
from mesolite.protocol import Demand, Offer, Source, TaskInfo, TaskStatus
from mesolite.resources import Resource, Resources

from ..driver.pool import OfferedPool
from ..driver.scheduling import DeclineOffers, Offered, ReviveOffers, StateDemand, Ticked, TooLarge, Updated
from .effects import EndCall, FineEffect, KillTask, LaunchCalls, ShutdownExecutor
from .endings import WORD_OF_STATE, Word, end_without_word, ending_of
from .errors import CallError, CallLost, CannotRun, TooLargeForCluster
from .events import CallKilled, CallsArrived, CallsWithdrawn, ExecutorEnded, FineCall, FineEvent, Rescinded
from .executors import ExecutorBook, HeldExecutor
from .options import Kind
from .programs import Program, carve_executor, is_small, shape_with_executor
from .settings import (
    MAX_TASKS_PER_LAUNCH,
    MAX_UNSTARTED,
    REFUSE_MS,
    SHUTDOWN_AGAIN_MS,
    UNREACHABLE_MS,
    WARM_MS,
)

#: Which executor a call needs: role, interpreter and container, and whether it has CPUs of its own. Calls of all sizes share it,
#: and it grows with them.
_Sort: TypeAlias = tuple[str, Hashable, bool]

#: Ends after which a call is tried again where its `retries` allow it: it may have begun, and it was no fault of the
#: function's.
_RETRIED: Final = frozenset({End.DIED, End.BLOCK_LOST})


@dataclass(slots=True, eq=False)
class _Entry:
    """A call that has not ended."""

    call: FineCall
    #: Attempts so far.
    attempts: int = 0
    #: Attempts that certainly did not begin.
    unstarted: int = 0
    #: Attempts that may have begun, and of which nothing came.
    lost: int = 0
    task_id: TaskId | None = None
    executor_id: ExecutorId | None = None
    kill_wanted: bool = False
    #: When it is given up, while its agent is out of sight.
    deadline_ms: int | None = None


class FineCore:
    """All calls of one framework.

    Args:
        program: What runs them.
        max_calls: At most so many at a time; None: what the cluster offers.
    """

    def __init__(self, program: Program, *, max_calls: int | None = None) -> None:
        self._program = program
        self._max_calls = max_calls
        #: Calls that have not ended, by number.
        self._calls: dict[int, _Entry] = {}
        #: Those that wait for an offer, in the order of arrival within a kind.
        self._queues: dict[Kind, deque[_Entry]] = {}
        #: Attempts that count.
        self._attempts: dict[TaskId, _Entry] = {}
        self._executors = ExecutorBook[_Sort]()
        #: Offers kept at hand.
        self._held: dict[OfferId, Offer] = {}
        #: Until when an offer for another call of a kind is kept.
        self._warm: dict[Kind, int] = {}
        #: Attempts on agents out of sight.
        self._unseen: dict[TaskId, _Entry] = {}
        #: Offers were refused for a while since the last revival.
        self._refused = False
        #: Remembered: what one call takes, and what one takes together with an executor.
        self._shapes: dict[Kind, tuple[tuple[Resource, ...], tuple[Resource, ...]]] = {}
        self._effects: list[FineEffect] = []

    def apply(self, event: FineEvent) -> list[FineEffect]:
        """Take one event in. Total: what makes no sense changes nothing."""
        effects: list[FineEffect] = []
        self._effects = effects
        now_ms = event.now_ms
        match event:
            case CallsArrived():
                self._arrive(event.calls, now_ms)
            case CallsWithdrawn():
                self._withdraw(event.numbers, now_ms)
            case CallKilled():
                self._kill(event.number)
            case Offered():
                self._held.update((offer.offer_id, offer) for offer in event.offers)
            case Rescinded():
                for offer_id in event.offer_ids:
                    self._held.pop(offer_id, None)
            case Updated():
                for status in event.statuses:
                    self._update(status, now_ms)
            case ExecutorEnded():
                self._executor_ended(event)
            case TooLarge():
                self._refuse_shape(event)
            case Ticked():
                self._tick(now_ms)
            case _:
                assert_never(event)
        self._place(now_ms)
        self._state_demand(now_ms)
        self._effects = []
        return effects

    def next_deadline_ms(self) -> int | None:
        """When the core wants a `Ticked` at the latest."""
        deadlines = [entry.deadline_ms for entry in self._unseen.values() if entry.deadline_ms is not None]
        deadlines += self._warm.values()
        deadlines += [each for held in self._executors for each in held.deadlines()]
        return min(deadlines, default=None)

    def check(self) -> None:
        """Assert every invariant."""
        for task_id, entry in self._attempts.items():
            assert entry.task_id == task_id, f"{task_id} leads to a call whose attempt is {entry.task_id}"
            assert self._calls.get(entry.call.number) is entry, f"{task_id} counts for a call that has ended"
        queued = [entry for queue in self._queues.values() for entry in queue]
        assert len(queued) + len(self._attempts) == len(self._calls), "a call neither waits nor is on its way"
        assert all(entry.task_id is None for entry in queued), "a call waits and is on its way"

    # Calls

    def _arrive(self, calls: Iterable[FineCall], now_ms: int) -> None:
        for call in calls:
            entry = self._calls[call.number] = _Entry(call)
            self._queue_of(call.kind).append(entry)
            self._warm[call.kind] = now_ms + WARM_MS
        if self._refused:
            self._refused = False
            self._effects.append(ReviveOffers())

    def _withdraw(self, numbers: Iterable[int], now_ms: int) -> None:
        for number in numbers:
            entry = self._calls.get(number)
            if entry is None:
                continue
            if entry.task_id is None:
                self._unqueue(entry)
            else:
                self._strike_out(entry, now_ms)
            del self._calls[number]

    def _kill(self, number: int) -> None:
        entry = self._calls.get(number)
        if entry is None:
            return
        entry.kill_wanted = True
        if entry.task_id is not None:
            self._effects.append(KillTask(task_id=entry.task_id))
        else:
            self._unqueue(entry)
            self._end(entry, _killed())

    def _refuse_shape(self, event: TooLarge) -> None:
        asked, largest = Resources.of(event.demand.shape), Resources.of(event.largest).unallocated()
        error = TooLargeForCluster(
            f"no agent is large enough: it asks for {asked}, and the largest agent has {largest}"
        )
        wanted = set(event.demand.shape)
        for kind in [each for each in self._queues if each.role == event.demand.role]:
            if wanted in (set(self._shape_of(kind)[0]), set(self._shape_of(kind)[1])):
                for entry in self._queues.pop(kind):
                    self._end(entry, error)
                self._warm.pop(kind, None)

    # Launching

    def _place(self, now_ms: int) -> None:
        if not self._held:
            return
        groups: dict[tuple[AgentId, str], list[Offer]] = {}
        for offer in self._held.values():
            groups.setdefault((offer.agent_id, offer.allocation_role), []).append(offer)
        unused: list[Offer] = []
        for (agent_id, role), offers in groups.items():
            if not self._queues or not self._place_on(agent_id, role, offers):
                unused += offers
        if unused:
            self._keep_or_decline(unused, now_ms)

    def _place_on(self, agent_id: AgentId, role: str, offers: list[Offer]) -> bool:
        """Launch what fits on the offers of one agent and one role; False where nothing does."""
        pool = OfferedPool(resource for offer in offers for resource in offer.resources)
        tasks: list[TaskInfo] = []
        numbers: list[int] = []
        for kind in [each for each in self._queues if each.role == role]:
            executor = self._executors.at(agent_id, _sort_of(kind))
            resources = None if executor is not None else carve_executor(pool, kind)
            room = min(len(self._queues[kind]), MAX_TASKS_PER_LAUNCH - len(tasks), self._room())
            if (executor is None and resources is None) or room <= 0:
                continue
            for share, count in pool.carve(self._shape_of(kind)[0], room):
                if executor is None:
                    assert resources is not None
                    executor = self._new_executor(agent_id, kind, resources)
                for entry in self._take(kind, count):
                    tasks.append(self._attempt(entry, executor, share))
                    numbers.append(entry.call.number)
        if not tasks:
            return False
        offer_ids = tuple(offer.offer_id for offer in offers)
        for offer_id in offer_ids:
            del self._held[offer_id]
        self._effects.append(LaunchCalls(offer_ids=offer_ids, tasks=tuple(tasks), numbers=tuple(numbers)))
        return True

    def _new_executor(self, agent_id: AgentId, kind: Kind, resources: tuple[Resource, ...]) -> HeldExecutor[_Sort]:
        sort = _sort_of(kind)
        info = self._program.info(self._executors.next_id(agent_id, sort), resources, kind)
        return self._executors.add(info, agent_id, sort)

    def _attempt(self, entry: _Entry, executor: HeldExecutor[_Sort], share: tuple[Resource, ...]) -> TaskInfo:
        entry.attempts += 1
        task_id = TaskId(f"{entry.call.number}-{entry.attempts}")
        entry.task_id, entry.executor_id = task_id, executor.executor_id
        self._attempts[task_id] = entry
        executor.tasks[task_id] = None
        executor.idle_since_ms = None
        return TaskInfo(
            task_id=task_id,
            agent_id=executor.agent_id,
            name=entry.call.name,
            resources=share,
            executor=executor.info,
            data=entry.call.data,
        )

    def _room(self) -> int:
        return MAX_TASKS_PER_LAUNCH if self._max_calls is None else self._max_calls - len(self._attempts)

    def _keep_or_decline(self, offers: list[Offer], now_ms: int) -> None:
        """Keep at hand what was asked for the next call; what else is left, or fits nothing, is of no use."""
        waiting = any(self._queues.values()) and self._room() > 0
        gone = [offer for offer in offers if waiting or not self._is_for_the_next(offer, now_ms)]
        for offer in gone:
            del self._held[offer.offer_id]
        if gone:
            # What was asked for and is of no use would come again at once.
            refuse = waiting or any(until_ms > now_ms for until_ms in self._warm.values())
            self._refused = self._refused or refuse
            offer_ids = tuple(offer.offer_id for offer in gone)
            self._effects.append(DeclineOffers(offer_ids=offer_ids, refuse_ms=REFUSE_MS if refuse else 0))

    def _is_for_the_next(self, offer: Offer, now_ms: int) -> bool:
        """Whether an offer is what was asked for the call that comes next, and not a whole agent from before."""
        amounts = Resources.of(offer.resources).unallocated().quantities()
        for kind, until_ms in self._warm.items():
            if until_ms <= now_ms or kind.role != offer.allocation_role:
                continue
            plain, with_executor = (Resources.of(shape).quantities() for shape in self._shape_of(kind))
            needed = plain if self._executors.at(offer.agent_id, _sort_of(kind)) is not None else with_executor
            if amounts.contains(needed) and with_executor.contains(amounts):
                return True
        return False

    def _state_demand(self, now_ms: int) -> None:
        demands: list[Demand] = []
        room = self._room()
        for kind in dict.fromkeys((*self._queues, *self._warm)):
            queued = len(self._queues.get(kind, ()))
            # One more than wait, while calls come: for the next.
            count = min(queued + (1 if self._warm.get(kind, 0) > now_ms else 0), max(0, room))
            if not count:
                continue
            plain, with_executor = self._shape_of(kind)
            first = 1 if queued or not self._executors.has_current(_sort_of(kind)) else 0
            if first:
                # It may go to an agent that has no executor yet.
                demands.append(Demand(role=kind.role, shape=with_executor, count=1))
            if count > first:
                demands.append(Demand(role=kind.role, shape=plain, count=count - first))
        self._effects.append(StateDemand(demands=tuple(demands)))

    # Hearing

    def _update(self, status: TaskStatus, now_ms: int) -> None:
        entry = self._attempts.get(status.task_id)
        word = WORD_OF_STATE[status.state]
        if entry is None:
            if word is Word.ALIVE:
                self._effects.append(KillTask(task_id=status.task_id))
            return
        if status.source is not Source.MASTER and entry.executor_id is not None:
            self._executors.confirm(entry.executor_id)
        if word is Word.ALIVE:
            if entry.deadline_ms is not None:
                entry.deadline_ms = None
                del self._unseen[status.task_id]
            return
        if word is Word.UNSEEN:
            if entry.deadline_ms is None:
                entry.deadline_ms = now_ms + UNREACHABLE_MS
                self._unseen[status.task_id] = entry
            return
        self._strike_out(entry, now_ms)
        if word is Word.UNSTARTED:
            self._again_unstarted(entry, status.message)
        else:
            ending = ending_of(status) if word is Word.ENDED else end_without_word(status)
            # An executor that had just ended may have been counted on: then the master refuses its tasks for want of
            # resources.
            if isinstance(ending, CannotRun) and status.source is Source.MASTER and entry.attempts == 1:
                self._again_unstarted(entry, str(ending))
            else:
                self._ended(entry, ending, now_ms)

    def _ended(self, entry: _Entry, ending: Outcome | CallError, now_ms: int) -> None:
        self._warm[entry.call.kind] = now_ms + WARM_MS
        if entry.kill_wanted and not _returned(ending):
            self._end(entry, _killed())
        elif isinstance(ending, Outcome) and ending.end is End.REFUSED:
            self._again_unstarted(entry, ending.message)
        elif _is_loss(ending) and entry.lost < entry.call.retries:
            entry.lost += 1
            self._queue_of(entry.call.kind).append(entry)
        else:
            self._end(entry, ending)

    def _again_unstarted(self, entry: _Entry, why: str) -> None:
        entry.unstarted += 1
        if entry.kill_wanted:
            self._end(entry, _killed())
        elif entry.unstarted > MAX_UNSTARTED:
            self._end(entry, CallLost(f"it was launched {entry.attempts} times and never began: {why}"))
        else:
            # In front: it was there before the others.
            self._queue_of(entry.call.kind).appendleft(entry)

    def _executor_ended(self, event: ExecutorEnded) -> None:
        for held in self._executors.on_agent(event.agent_id):
            if event.executor_id in (None, held.executor_id):
                # Its tasks get their own last words.
                self._executors.remove(held)

    def _tick(self, now_ms: int) -> None:
        for kind in [kind for kind, until_ms in self._warm.items() if until_ms <= now_ms]:
            del self._warm[kind]
        for entry in [each for each in self._unseen.values() if each.deadline_ms is not None]:
            if entry.deadline_ms is not None and entry.deadline_ms <= now_ms:
                self._strike_out(entry, now_ms)
                self._ended(entry, CallLost(f"its agent was out of sight for {UNREACHABLE_MS / 1000:g} s"), now_ms)
        for held in self._executors.due(now_ms):
            # Again, where nobody has said that it is over: its agent may have been out of sight.
            self._executors.leave(held, now_ms + SHUTDOWN_AGAIN_MS)
            self._effects.append(ShutdownExecutor(agent_id=held.agent_id, executor_id=held.executor_id))

    # Bookkeeping

    def _strike_out(self, entry: _Entry, now_ms: int) -> None:
        """The attempt does not count any more."""
        assert entry.task_id is not None
        assert entry.executor_id is not None
        del self._attempts[entry.task_id]
        self._unseen.pop(entry.task_id, None)
        self._executors.task_ended(entry.executor_id, entry.task_id, now_ms)
        entry.task_id = entry.executor_id = entry.deadline_ms = None

    def _end(self, entry: _Entry, ending: Outcome | CallError) -> None:
        del self._calls[entry.call.number]
        self._effects.append(EndCall(number=entry.call.number, ending=ending))

    def _queue_of(self, kind: Kind) -> "deque[_Entry]":
        queue = self._queues.get(kind)
        if queue is None:
            queue = self._queues[kind] = deque()
        return queue

    def _take(self, kind: Kind, count: int) -> "list[_Entry]":
        queue = self._queues[kind]
        taken = [queue.popleft() for _ in range(count)]
        if not queue:
            del self._queues[kind]
        return taken

    def _unqueue(self, entry: _Entry) -> None:
        queue = self._queues[entry.call.kind]
        queue.remove(entry)
        if not queue:
            del self._queues[entry.call.kind]

    def _shape_of(self, kind: Kind) -> tuple[tuple[Resource, ...], tuple[Resource, ...]]:
        """What one call takes, and what one takes together with an executor."""
        shapes = self._shapes.get(kind)
        if shapes is None:
            shapes = self._shapes[kind] = kind.shape, shape_with_executor(kind)
        return shapes


def _sort_of(kind: Kind) -> _Sort:
    return kind.role, kind.program, is_small(kind)


def _is_loss(ending: Outcome | CallError) -> bool:
    return ending.end in _RETRIED if isinstance(ending, Outcome) else isinstance(ending, CallLost)


def _returned(ending: Outcome | CallError) -> bool:
    return isinstance(ending, Outcome) and ending.end in (End.RETURNED, End.RAISED)


def _killed() -> Outcome:
    return Outcome(End.CANCELLED, message="killed by its caller")
