"""Runs that are tasks of their own, each with an executor and so a container of its own: runs, offers, updates in; launches, ends
out.

    waiting --launched--> launched --RUNNING--> begun --its last word--> ended
       ^                     |
       '---- it certainly never began ----'

A run's task is called by the run's name, and `NAME+2` and so on where a launch came to nothing: whoever knows the name knows
which tasks may be it, so a dispatcher that starts again needs no memory of what its earlier life launched. It asks the master for
all of them, and a run is lost when none of them is known.

An end is acknowledged some time after it was told, because telling is not writing: if the dispatcher is killed between hearing an
end and acting upon it, the agent says the end again to its next life. For the same reason ends of runs that nobody has asked for
yet are kept.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias, assert_never

from mesolite.executors.python.calls import End, Outcome
from mesolite.ids import AgentId, ExecutorId, OfferId, TaskId
from mesolite.protocol import TERMINAL_STATES, Demand, Offer, Source, TaskInfo, TaskState, TaskStatus
from mesolite.resources import Resource, Resources

from ..driver.pool import OfferedPool
from ..driver.scheduling import DeclineOffers, Offered, ReviveOffers, StateDemand, Ticked, TooLarge, Updated
from ..futures.effects import KillTask, ShutdownExecutor
from ..futures.endings import WORD_OF_STATE, Word, ending_of
from ..futures.engine_call import Lost
from ..futures.errors import CallError, CallLost, CannotRun, TooLargeForCluster
from ..futures.events import ExecutorEnded, Rescinded
from ..futures.options import Kind
from ..futures.programs import Program, carve_executor, shape_with_executor
from ..futures.settings import MAX_TASKS_PER_LAUNCH, REFUSE_MS, UNREACHABLE_MS
from .single_events import (
    AcknowledgeUpdates,
    AskFor,
    BeginRun,
    EndRun,
    LaunchRuns,
    RunCancelled,
    RunPlace,
    RunsArrived,
    RunsAttached,
    SingleEffect,
    SingleEvent,
    SingleRun,
)
from .warm_settings import WARM_SHARE

#: How often a run is launched that certainly never started. Offers are rescinded now and then; five times in a row is something
#: else, and a dispatcher that starts again asks for as many names of each run.
MAX_LAUNCHES: Final = 5
#: From telling an end to acknowledging it: the dispatcher writes what follows from it within milliseconds.
KEEP_MS: Final = 2_000
#: Ends that nobody has asked for are kept so long. A dispatcher that starts again gets its messages back in batches, as earlier
#: ones end.
STRANGER_MS: Final = 3_600_000
#: Of these, so many: beyond it the oldest are forgotten, and count as lost to whoever asks. Each may hold a report of some KiB.
MAX_STRANGERS: Final = 10_000
#: Tasks that were given up while their agents were out of sight, and are killed if they come back: so many are remembered.
MAX_GIVEN_UP: Final = 10_000
#: Between a run's name and the number of its launch.
_AGAIN: Final = "+"

_Ending: TypeAlias = Outcome | Lost | CallError


@dataclass(slots=True, eq=False)
class _Run:
    """A run that has not ended."""

    run: SingleRun
    #: The number of its last launch.
    launches: int = 0
    #: Its task; None while it waits.
    task_id: TaskId | None = None
    place: RunPlace | None = None
    begun: bool = False
    kill_wanted: bool = False
    #: Tasks of which the master has yet to say whether they are it; only of one that was attached to.
    asked: set[TaskId] = field(default_factory=set[TaskId])
    #: Words that launches came to nothing. Not acknowledged before it has ended: the next life must learn which ids are used.
    in_vain: list[TaskStatus] = field(default_factory=list[TaskStatus])
    #: When it is given up, while its agent is out of sight.
    deadline_ms: int | None = None


class SingleCore:
    """All runs of one framework.

    Args:
        program: What runs them.
    """

    def __init__(self, program: Program) -> None:
        self._program: Final = program
        #: Runs that have not ended, by name.
        self._runs: Final[dict[str, _Run]] = {}
        #: Those that wait for an offer, in the order of arrival within a kind.
        self._queues: Final[dict[Kind, deque[_Run]]] = {}
        #: Tasks that are, or may be, a run.
        self._tasks: Final[dict[TaskId, _Run]] = {}
        #: Last words about tasks that nobody asked for, and until when they are kept, oldest first.
        self._strangers: Final[dict[TaskId, tuple[TaskStatus, int]]] = {}
        #: Tasks of earlier lives that were heard to live.
        self._living: Final[dict[TaskId, TaskStatus]] = {}
        #: Tasks whose runs have ended as lost: a dict for its order.
        self._given_up: Final[dict[TaskId, None]] = {}
        #: Offers of this turn.
        self._held: Final[dict[OfferId, Offer]] = {}
        #: Last words that were told, and when they are to be acknowledged, oldest first.
        self._kept: Final[deque[tuple[int, TaskStatus]]] = deque()
        #: Offers were refused for a while since the last revival.
        self._refused = False
        self._now_ms = 0
        self._effects: list[SingleEffect] = []

    def apply(self, event: SingleEvent) -> list[SingleEffect]:
        """Take one event in. Total: what makes no sense changes nothing."""
        effects: list[SingleEffect] = []
        self._effects = effects
        now_ms = self._now_ms = event.now_ms
        match event:
            case RunsArrived():
                self._arrive(event.runs)
            case RunsAttached():
                self._attach(event.runs, now_ms)
            case RunCancelled():
                self._cancel(event.name, kill=event.kill)
            case Offered():
                self._held.update((offer.offer_id, offer) for offer in event.offers)
            case Rescinded():
                pass  # none is held beyond its turn
            case Updated():
                for status in event.statuses:
                    self._update(status, now_ms)
            case ExecutorEnded():
                pass  # its task gets its own last word
            case TooLarge():
                self._refuse_shape(event)
            case Ticked():
                self._tick(now_ms)
            case _:
                assert_never(event)
        self._place()
        self._state_demand()
        self._effects = []
        return effects

    def next_deadline_ms(self) -> int | None:
        """When the core wants a `Ticked` at the latest."""
        deadlines = [run.deadline_ms for run in self._runs.values() if run.deadline_ms is not None]
        deadlines += [due_ms for due_ms, _ in list(self._kept)[:1]]
        deadlines += [until_ms for _, until_ms in list(self._strangers.values())[:1]]
        return min(deadlines, default=None)

    def check(self) -> None:
        """Assert every invariant."""
        queued = [run for queue in self._queues.values() for run in queue]
        for run in queued:
            assert run.task_id is None, f"{run.run.name} waits and is launched"
            assert not run.asked, f"{run.run.name} waits and is asked for"
        for name, run in self._runs.items():
            assert run.run.name == name
            assert (run in queued) + (run.task_id is not None) + bool(run.asked) == 1, (
                f"{name} is nowhere, or in two places"
            )
        for task_id, run in self._tasks.items():
            assert self._runs.get(run.run.name) is run, f"{task_id} is of a run that has ended"
            assert task_id == run.task_id or task_id in run.asked, f"{task_id} does not count"
        assert not self._strangers.keys() & self._tasks.keys(), "a run's end is kept for nobody"
        assert not self._held, "an offer is kept beyond its turn"

    # Runs

    def _arrive(self, runs: Iterable[SingleRun]) -> None:
        for each in runs:
            run = self._runs[each.name] = _Run(each)
            self._queues.setdefault(each.kind, deque()).append(run)
        if self._refused:
            self._refused = False
            self._effects.append(ReviveOffers())

    def _attach(self, runs: Iterable[SingleRun], now_ms: int) -> None:
        unheard: list[TaskId] = []
        for each in runs:
            run = self._runs[each.name] = _Run(each)
            names = [task_name(each.name, launch) for launch in range(1, MAX_LAUNCHES + 1)]
            known = next((name for name in names if self._is_known(name)), None)
            if known is None:
                run.asked = set(names)
                self._tasks.update((name, run) for name in names)
                unheard += [name for name in names if name not in self._strangers]
                for name in [each for each in names if each in self._strangers]:
                    self._answered(run, self._strangers.pop(name)[0], Word.UNSTARTED, now_ms)
                continue
            self._adopt(run, known)
            living = self._living.pop(known, None)
            status = living if living is not None else self._strangers.pop(known)[0]
            self._heard(run, status, WORD_OF_STATE[status.state], now_ms)
        if unheard:
            self._effects.append(AskFor(task_ids=tuple(unheard)))

    def _is_known(self, task_id: TaskId) -> bool:
        """Whether an earlier life's task was heard to live or to have ended after it began."""
        if task_id in self._living:
            return True
        status, _ = self._strangers.get(task_id, (None, 0))
        return status is not None and WORD_OF_STATE[status.state] is not Word.UNSTARTED

    def _cancel(self, name: str, *, kill: bool) -> None:
        run = self._runs.get(name)
        if run is None:
            return
        if run.task_id is not None:
            if kill:
                run.kill_wanted = True
                self._effects.append(KillTask(task_id=run.task_id))
        elif run.asked:
            run.kill_wanted = run.kill_wanted or kill
        else:
            self._unqueue(run)
            self._end(run, _cancelled(begun=False))

    def _refuse_shape(self, event: TooLarge) -> None:
        asked, largest = Resources.of(event.demand.shape), Resources.of(event.largest).unallocated()
        error = TooLargeForCluster(
            f"no agent is large enough: it asks for {asked} with its executor, and the largest agent has {largest}"
        )
        wanted = set(event.demand.shape)
        for kind in [each for each in self._queues if each.role == event.demand.role]:
            if wanted == set(shape_with_executor(kind, WARM_SHARE)):
                for run in self._queues.pop(kind):
                    self._end(run, error)

    # Launching

    def _place(self) -> None:
        groups: dict[tuple[AgentId, str], list[Offer]] = {}
        for offer in self._held.values():
            groups.setdefault((offer.agent_id, offer.allocation_role), []).append(offer)
        self._held.clear()
        unused: list[OfferId] = []
        for offers in groups.values():
            launched = self._fitting(offers)
            offer_ids = tuple(offer.offer_id for offer in offers)
            if launched:
                names = tuple(run.run.name for run, _ in launched)
                places = tuple(run.place for run, _ in launched if run.place is not None)
                tasks = tuple(task for _, task in launched)
                self._effects.append(LaunchRuns(offer_ids=offer_ids, tasks=tasks, names=names, places=places))
            else:
                unused += offer_ids
        if unused:
            # What was asked for and is of no use would come again at once.
            refuse = bool(self._queues)
            self._refused = self._refused or refuse
            self._effects.append(DeclineOffers(offer_ids=tuple(unused), refuse_ms=REFUSE_MS if refuse else 0))

    def _fitting(self, offers: list[Offer]) -> list[tuple[_Run, TaskInfo]]:
        """Take runs that fit on the offers of one agent and one role."""
        pool = OfferedPool(resource for offer in offers for resource in offer.resources)
        launched: list[tuple[_Run, TaskInfo]] = []
        for kind in [each for each in self._queues if each.role == offers[0].allocation_role]:
            while kind in self._queues and len(launched) < MAX_TASKS_PER_LAUNCH:
                own = carve_executor(pool, kind, WARM_SHARE)
                shares = pool.carve(kind.shape, 1) if own is not None else []
                if own is None or not shares:
                    break
                run = self._queues[kind][0]
                self._unqueue(run)
                launched.append((run, self._launch(run, offers[0], own, shares[0][0])))
        return launched

    def _launch(self, run: _Run, offer: Offer, own: tuple[Resource, ...], share: tuple[Resource, ...]) -> TaskInfo:
        """Make a run's task, of what it needs for itself and what its executor needs."""
        run.launches += 1
        task_id = task_name(run.run.name, run.launches)
        executor_id = ExecutorId(task_id)
        run.task_id = task_id
        run.place = RunPlace(agent_id=offer.agent_id, hostname=offer.hostname, executor_id=executor_id)
        self._tasks[task_id] = run
        kind = run.run.kind
        return TaskInfo(
            task_id=task_id,
            agent_id=offer.agent_id,
            name=run.run.shown,
            resources=share,
            executor=self._program.info(executor_id, own, kind, mem_mib_per_worker=kind.mem_mib),
            data=run.run.data,
        )

    def _state_demand(self) -> None:
        demands = [
            Demand(role=kind.role, shape=shape_with_executor(kind, WARM_SHARE), count=len(queue))
            for kind, queue in self._queues.items()
        ]
        self._effects.append(StateDemand(demands=tuple(demands)))

    # Hearing

    def _update(self, status: TaskStatus, now_ms: int) -> None:
        if status.state not in TERMINAL_STATES:
            self._effects.append(AcknowledgeUpdates(statuses=(status,)))
        run = self._tasks.get(status.task_id)
        word = WORD_OF_STATE[status.state]
        if run is None:
            self._hear_stranger(status, word, now_ms)
        elif run.task_id is None:
            self._answered(run, status, word, now_ms)
        else:
            self._heard(run, status, word, now_ms)

    def _heard(self, run: _Run, status: TaskStatus, word: Word, now_ms: int) -> None:
        """A word about the task that is a run."""
        run.place = run.place or place_of(status)
        if word is Word.ALIVE:
            self._alive(run, status)
        elif word is Word.UNSEEN:
            if run.deadline_ms is None:
                run.deadline_ms = now_ms + UNREACHABLE_MS
        else:
            self._ended(run, status, now_ms)

    def _hear_stranger(self, status: TaskStatus, word: Word, now_ms: int) -> None:
        """A task of an earlier life, or one that was given up."""
        if word in (Word.ALIVE, Word.UNSEEN):
            if status.task_id in self._given_up:
                self._effects.append(KillTask(task_id=status.task_id))
            elif word is Word.ALIVE and status.task_id not in self._strangers:
                self._living[status.task_id] = status
            return
        self._living.pop(status.task_id, None)
        if status.uuid is None:
            return  # an answer of the master's: nothing that somebody will ask for
        if status.task_id not in self._strangers:
            self._shut_down(status)
        self._strangers[status.task_id] = status, now_ms + STRANGER_MS
        if len(self._strangers) > MAX_STRANGERS:
            self._forget_stranger(next(iter(self._strangers)))

    def _answered(self, run: _Run, status: TaskStatus, word: Word, now_ms: int) -> None:
        """The master, or an agent, speaks of a task that may be a run that was attached to."""
        is_unknown = status.uuid is None and (word is Word.LOST or status.state is TaskState.UNKNOWN)
        if word is not Word.UNSTARTED and not is_unknown:
            for task_id in run.asked:
                self._tasks.pop(task_id, None)
            run.asked.clear()
            self._adopt(run, status.task_id)
            if run.kill_wanted:
                self._effects.append(KillTask(task_id=status.task_id))
            self._heard(run, status, word, now_ms)
            return
        if word is Word.UNSTARTED:
            run.launches = max(run.launches, launch_of(run.run.name, status.task_id))
        run.asked.discard(status.task_id)
        del self._tasks[status.task_id]
        if status.uuid is not None:
            run.in_vain.append(status)
        if not run.asked and run.launches:
            self._again(run, "its dispatcher ended before it began")
        elif not run.asked:
            self._end(run, Lost("", False, "neither the master nor any agent knows it any more"))

    def _adopt(self, run: _Run, task_id: TaskId) -> None:
        """A task of an earlier life is a run."""
        run.task_id = task_id
        run.launches = launch_of(run.run.name, task_id)
        self._tasks[task_id] = run

    def _alive(self, run: _Run, status: TaskStatus) -> None:
        run.deadline_ms = None
        if status.state in (TaskState.RUNNING, TaskState.KILLING) and not run.begun and run.place is not None:
            run.begun = True
            self._effects.append(BeginRun(name=run.run.name, place=run.place))

    def _ended(self, run: _Run, status: TaskStatus, now_ms: int) -> None:
        """Its task is no more."""
        self._shut_down(status)
        if WORD_OF_STATE[status.state] is Word.UNSTARTED:
            if status.uuid is not None:
                run.in_vain.append(status)
            self._again(run, status.message)
            return
        if status.uuid is not None:
            self._kept.append((now_ms + KEEP_MS, status))
        ending = ending_of(status)
        # An executor that has just ended may have been counted on: then the master refuses a task for want of resources.
        is_refusal = isinstance(ending, CannotRun) and status.source is Source.MASTER
        if (is_refusal and run.launches == 1) or (isinstance(ending, Outcome) and ending.end is End.REFUSED):
            self._again(run, str(ending) if isinstance(ending, CannotRun) else status.message)
        elif (run.kill_wanted or status.state is TaskState.KILLED) and not _has_returned(ending):
            self._end(run, _cancelled(begun=True))
        else:
            self._end(run, _told(ending, run))

    def _again(self, run: _Run, why: str) -> None:
        """It certainly never began."""
        self._strike_out(run)
        if run.kill_wanted:
            self._end(run, _cancelled(begun=False))
        elif run.launches >= MAX_LAUNCHES:
            # It did not begin; but whoever gives it again under its name would find all of its ids used.
            self._end(run, Lost("", False, f"it was launched {run.launches} times in vain: {why}"))
        else:
            # In front: it was there before the others.
            self._queues.setdefault(run.run.kind, deque()).appendleft(run)

    def _tick(self, now_ms: int) -> None:
        for run in [each for each in self._runs.values() if each.deadline_ms is not None]:
            if run.deadline_ms is not None and run.deadline_ms <= now_ms:
                self._give_up(run)
                why = f"its agent was out of sight for {UNREACHABLE_MS / 1000:g} s"
                self._end(run, Lost(run.place.executor_id if run.place else "", run.begun, why))
        due: list[TaskStatus] = []
        while self._kept and self._kept[0][0] <= now_ms:
            due.append(self._kept.popleft()[1])
        if due:
            self._effects.append(AcknowledgeUpdates(statuses=tuple(due)))
        for task_id in [each for each, (_, until_ms) in self._strangers.items() if until_ms <= now_ms]:
            self._forget_stranger(task_id)

    # Bookkeeping

    def _shut_down(self, status: TaskStatus) -> None:
        """Its executor has nothing more to do, where it lives."""
        if status.agent_id is not None and status.source is not Source.MASTER:
            self._effects.append(ShutdownExecutor(agent_id=status.agent_id, executor_id=ExecutorId(status.task_id)))

    def _give_up(self, run: _Run) -> None:
        if run.task_id is not None:
            self._given_up[run.task_id] = None
            if len(self._given_up) > MAX_GIVEN_UP:
                del self._given_up[next(iter(self._given_up))]

    def _forget_stranger(self, task_id: TaskId) -> None:
        status, _ = self._strangers.pop(task_id)
        self._effects.append(AcknowledgeUpdates(statuses=(status,)))

    def _strike_out(self, run: _Run) -> None:
        """Its task does not count any more."""
        if run.task_id is not None:
            self._tasks.pop(run.task_id, None)
        for task_id in run.asked:
            self._tasks.pop(task_id, None)
        run.asked.clear()
        run.task_id = run.place = run.deadline_ms = None
        run.begun = False

    def _end(self, run: _Run, ending: _Ending) -> None:
        place = run.place
        self._strike_out(run)
        del self._runs[run.run.name]
        self._kept.extend((self._now_ms + KEEP_MS, status) for status in run.in_vain)
        self._effects.append(EndRun(name=run.run.name, ending=ending, place=place))

    def _unqueue(self, run: _Run) -> None:
        queue = self._queues[run.run.kind]
        queue.remove(run)
        if not queue:
            del self._queues[run.run.kind]


def task_name(name: str, launch: int) -> TaskId:
    """What the task of a run's launch is called; launches count from 1."""
    return TaskId(name if launch == 1 else f"{name}{_AGAIN}{launch}")


def launch_of(name: str, task_id: TaskId) -> int:
    """Which launch of a run a task is."""
    return next(launch for launch in range(1, MAX_LAUNCHES + 1) if task_name(name, launch) == task_id)


def place_of(status: TaskStatus) -> RunPlace | None:
    """Where a task is, as far as a word about it says."""
    if status.agent_id is None:
        return None
    return RunPlace(agent_id=status.agent_id, hostname=status.agent_id, executor_id=status.task_id)


def _has_returned(ending: Outcome | CallError) -> bool:
    return isinstance(ending, Outcome) and ending.end in (End.RETURNED, End.RAISED)


def _told(ending: Outcome | CallError, run: _Run) -> _Ending:
    if isinstance(ending, CallLost):
        return Lost(run.place.executor_id if run.place else "", run.begun, str(ending))
    return ending


def _cancelled(*, begun: bool) -> Outcome:
    return Outcome(End.CANCELLED, message="it was told to end", begun=begun)
