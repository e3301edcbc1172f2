"""Coarse-grained calls: how many workers a pool holds, and where. Loads, offers and updates in; slots and executors out.

A slot is a task, and one worker process of an executor for as long as the task lives. Slots are wanted as calls wait: as
many as there are calls that have not ended, between `min_workers` and `max_workers`. They grow at once, and shrink when
they have been too many for a while (by as many as were never needed meanwhile), so that a pause between two bursts costs
nothing.

An executor is *up* from its launch, and *over* when it is known to be: its container has ended, or its agent is gone.
Only then may calls that it was given be given to another, so nothing else counts as an end.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import assert_never

from mesolite.ids import AgentId, ExecutorId, TaskId
from mesolite.protocol import Offer, Source, TaskInfo, TaskState, TaskStatus
from mesolite.resources import Resource

from ..driver.pool import OfferedPool
from ..driver.scheduling import DeclineOffers, Offered, ReviveOffers, StateDemand, Ticked, TooLarge, Updated
from .balance import Balance, wish_of
from .coarse_parts import (
    EXECUTOR_IS_OVER,
    UNSTARTED_STATES,
    Load,
    Slot,
    ages,
    demands_for,
    error_of,
    first_to_go,
    is_meant,
    record_of,
    slot_task,
    surpluses,
    too_large,
    working,
)
from .effects import (
    AgentGone,
    CoarseEffect,
    DrainExecutor,
    ExecutorOver,
    ExecutorUp,
    KeepExecutor,
    KillTask,
    LaunchSlots,
    RefuseKind,
    ShutdownExecutor,
    WorkersChanged,
)
from .endings import WORD_OF_STATE, Word
from .errors import CallError, CallLost, CannotRun
from .events import Adopted, CallsGiven, CoarseEvent, ExecutorEnded, LoadChanged, Rescinded, Silent
from .executors import ExecutorBook, HeldExecutor
from .held_record import HeldRecord
from .holding import Holding
from .options import Kind
from .programs import Program, carve_executor
from .settings import (
    LOOK_MS,
    MAX_FAILED_EXECUTORS,
    MAX_UNSTARTED,
    MAX_WORKERS,
    REFUSE_MS,
    REPLACE_PATIENCE_MS,
    SHUTDOWN_AGAIN_MS,
    SILENT_OVER_MS,
    SLOT_GRACE_MS,
    UNREACHABLE_MS,
)


class CoarseCore:
    """All workers of one framework.

    Args:
        program: What they are.
        kind: The kind of calls for which `min_workers` are held.
        holding: How many, where, and for how long.
    """

    def __init__(self, program: Program, kind: Kind, holding: Holding) -> None:
        self._program = program
        self._first = kind
        self._holding = holding
        self._max_workers = MAX_WORKERS if holding.max_workers is None else holding.max_workers
        #: An earlier life may have been allowed more.
        self._most = self._max_workers
        self._balance = Balance(self._max_workers, holding.share) if holding.drains else None
        self._loads: dict[Kind, Load] = {kind: Load()}
        self._slots: dict[TaskId, Slot] = {}
        self._executors = ExecutorBook[Kind](holding.life)
        #: Number of the newest slot.
        self._number = 0
        self._refused = False
        #: When the last event came: a load that is known may have fallen since.
        self._looked_ms = 0
        self._effects: list[CoarseEffect] = []

    def apply(self, event: CoarseEvent) -> list[CoarseEffect]:
        """Take one event in. Total: what makes no sense changes nothing."""
        effects: list[CoarseEffect] = []
        self._effects = effects
        now_ms = self._looked_ms = event.now_ms
        match event:
            case LoadChanged():
                self._load(event.kind, event.calls)
            case Offered():
                self._offer(event.offers)
            case Rescinded():
                pass  # none are kept
            case Updated():
                for status in event.statuses:
                    self._update(status, now_ms)
            case ExecutorEnded():
                self._executor_ended(event)
            case TooLarge():
                self._refuse_shape(event)
            case CallsGiven():
                self._count_given(event.calls)
            case Adopted():
                for record in event.records:
                    self._adopt(record)
            case Silent():
                self._give_up(event.executor_ids)
            case Ticked():
                self._tick(now_ms)
            case _:
                assert_never(event)
        self._shrink(now_ms)
        self._share_out(now_ms)
        self._state_demand()
        self._effects = []
        return effects

    def next_deadline_ms(self) -> int | None:
        """When the core wants a `Ticked` at the latest."""
        deadlines = [slot.deadline_ms for slot in self._slots.values() if slot.deadline_ms is not None]
        if any(load.calls for load in self._loads.values()):
            deadlines.append(self._looked_ms + LOOK_MS)
        deadlines += [since + self._holding.idle_ms for since in surpluses(self._loads.values())]
        deadlines += ages(self._executors, self._looked_ms, self._holding.max_age_ms)
        return min(deadlines, default=None)

    def check(self) -> None:
        """Assert every invariant."""
        for task_id, slot in self._slots.items():
            held = self._executors.get(slot.executor_id)
            assert held is not None, f"worker {task_id} is of an executor that is over"
            assert task_id in held.tasks, f"executor {slot.executor_id} does not know its worker {task_id}"
        assert sum(slot.counts for slot in self._slots.values()) <= self._most

    # What is needed

    def _load(self, kind: Kind, calls: int) -> None:
        load = self._loads.setdefault(kind, Load())
        grown = calls > load.calls
        load.calls = calls
        load.peak = max(load.peak, self._target(kind))
        if grown and self._refused:
            self._refused = False
            self._effects.append(ReviveOffers())

    def _target(self, kind: Kind) -> int:
        least = self._holding.min_workers if kind == self._first else 0
        return min(self._max_workers, max(least, self._loads[kind].calls))

    def _held(self, kind: Kind) -> int:
        return sum(slot.kind == kind and slot.counts for slot in self._slots.values())

    def _needed(self, kind: Kind) -> int:
        others = sum(slot.kind != kind and slot.counts for slot in self._slots.values())
        held = self._held(kind)
        needed = max(0, min(self._target(kind), self._max_workers - others) - held)
        return needed if self._balance is None else min(needed, self._balance.most_more(kind, held))

    def _state_demand(self) -> None:
        demands = [demand for kind in self._loads for demand in demands_for(kind, self._needed(kind), self._holding)]
        self._effects.append(StateDemand(demands=tuple(demands)))

    # Growing

    def _offer(self, offers: Iterable[Offer]) -> None:
        groups: dict[tuple[AgentId, str], list[Offer]] = {}
        for offer in offers:
            groups.setdefault((offer.agent_id, offer.allocation_role), []).append(offer)
        unused: list[Offer] = []
        for (agent_id, role), group in groups.items():
            if not self._grow_on(agent_id, role, group):
                unused += group
        if unused:
            wanted = any(self._needed(kind) for kind in self._loads)
            self._refused = self._refused or wanted
            offer_ids = tuple(offer.offer_id for offer in unused)
            self._effects.append(DeclineOffers(offer_ids=offer_ids, refuse_ms=REFUSE_MS if wanted else 0))

    def _grow_on(self, agent_id: AgentId, role: str, offers: list[Offer]) -> bool:
        """Launch what fits on the offers of one agent and one role; False where nothing does."""
        pool = OfferedPool(resource for offer in offers for resource in offer.resources)
        tasks: list[TaskInfo] = []
        for kind in self._loads if self._balance is None else self._balance.in_order(self._loads):
            needed = self._needed(kind) if kind.role == role else 0
            while needed > 0:
                slots = self._grow_executor(pool, offers[0], kind, needed)
                tasks += slots
                needed = needed - len(slots) if slots else 0
        if tasks:
            offer_ids = tuple(offer.offer_id for offer in offers)
            for executor_id in dict.fromkeys(task.executor.executor_id for task in tasks if task.executor is not None):
                self._keep(executor_id)
            self._effects.append(LaunchSlots(offer_ids=offer_ids, tasks=tuple(tasks)))
        return bool(tasks)

    def _grow_executor(self, pool: OfferedPool, offer: Offer, kind: Kind, needed: int) -> list[TaskInfo]:
        """Make so many workers, or what fits, in one executor: that of the agent which has room, or a new one."""
        executor = self._executors.at(offer.agent_id, kind)
        room = self._holding.workers_per_executor
        if executor is not None and room is not None:
            room -= len(executor.tasks)
            executor = executor if room > 0 else None
            room = room if room > 0 else self._holding.workers_per_executor
        resources = None if executor is not None else carve_executor(pool, kind, self._holding.share)
        if executor is None and resources is None:
            return []
        tasks: list[TaskInfo] = []
        for share, count in pool.carve(kind.shape, needed if room is None else min(needed, room)):
            if executor is None:
                assert resources is not None
                executor = self._new_executor(offer.agent_id, offer.hostname, kind, resources)
            tasks += [self._new_slot(executor, share) for _ in range(count)]
        return tasks

    def _new_executor(
        self, agent_id: AgentId, hostname: str, kind: Kind, resources: tuple[Resource, ...]
    ) -> HeldExecutor[Kind]:
        info = self._program.info(
            self._executors.next_id(agent_id, kind),
            resources,
            kind,
            mem_mib_per_worker=kind.mem_mib,
        )
        # Said before it runs: calls that are sent to it wait for it where it will look first.
        self._effects.append(ExecutorUp(executor_id=info.executor_id, kind=kind, agent_id=agent_id, hostname=hostname))
        return self._executors.add(info, agent_id, kind, self._looked_ms, hostname)

    def _new_slot(self, executor: HeldExecutor[Kind], share: tuple[Resource, ...]) -> TaskInfo:
        self._number += 1
        task_id = TaskId(f"worker-{self._number}{self._holding.life}")
        self._slots[task_id] = Slot(executor.sort, executor.executor_id)
        executor.tasks[task_id] = None
        executor.idle_since_ms = None
        if self._balance is not None:
            self._balance.grew(executor.sort, executor.agent_id)
        return slot_task(task_id, f"{self._program.name} worker", executor, share)

    # Outliving

    def _keep(self, executor_id: ExecutorId) -> None:
        """Have an executor with its workers kept for the framework's next life, where there is to be one."""
        held = self._executors.get(executor_id)
        if held is not None and self._holding.life:
            self._effects.append(KeepExecutor(record=record_of(held)))

    def _adopt(self, record: HeldRecord) -> None:
        """Hold what an earlier life held; its launch may have come to nothing."""
        if self._executors.get(record.info.executor_id) is not None:
            return
        held = self._executors.add(record.info, record.agent_id, record.kind, record.launched_ms, record.hostname)
        self._loads.setdefault(record.kind, Load())
        for task_id in record.tasks:
            self._slots[task_id] = Slot(record.kind, held.executor_id, running=True, leaving=record.leaving)
            held.tasks[task_id] = None
        held.idle_since_ms = None if record.tasks else self._looked_ms
        if record.leaving:
            # The word of its end may have gone to the earlier life: it is said again to who asks.
            self._shut_down(held)
        self._most = max(self._most, sum(slot.counts for slot in self._slots.values()))

    # Shrinking

    def _shrink(self, now_ms: int) -> None:
        for kind, load in self._loads.items():
            target, held = self._target(kind), self._held(kind)
            if held <= target:
                load.surplus_since_ms = None
            elif load.surplus_since_ms is None:
                load.surplus_since_ms, load.peak = now_ms, target
            elif load.surplus_since_ms + self._holding.idle_ms <= now_ms:
                self._give_back(kind, held - max(target, load.peak))
                load.surplus_since_ms, load.peak = now_ms, target

    def _give_back(self, kind: Kind, count: int) -> None:
        """Ask so many workers to end."""
        self._end_workers(first_to_go(kind, self._slots, self._executors)[: max(0, count)])

    def _share_out(self, now_ms: int) -> None:
        """Have workers of kinds that hold much make room for kinds that hold little."""
        if self._balance is not None and len(self._loads) > 1:
            wishes = {
                kind: wish_of(load, self._target(kind), self._held(kind), now_ms) for kind, load in self._loads.items()
            }
            ending = self._balance.look(now_ms, wishes, self._slots, self._executors)
            workers = [(task_id, self._slots[task_id]) for task_id in ending]
            self._end_workers(sorted(workers, key=lambda each: each[1].executor_id))

    def _end_workers(self, workers: Iterable[tuple[TaskId, Slot]]) -> None:
        """Ask workers to end after their calls; those of one executor stand together."""
        for executor_id, group in groupby(workers, key=lambda each: each[1].executor_id):
            held = self._executors.get(executor_id)
            assert held is not None, "workers are of an executor"
            slots = dict(group)
            if self._holding.drains and not any(self._slots[each].counts for each in held.tasks if each not in slots):
                self._drain(held)
                continue
            for task_id, slot in slots.items():
                slot.leaving = True
                self._effects.append(KillTask(task_id=task_id, grace_ms=SLOT_GRACE_MS))
            self._say_workers(executor_id)

    def _drain(self, held: HeldExecutor[Kind]) -> None:
        """Have an executor end what it has; then it is shut down."""
        self._executors.drain(held)
        for task_id in held.tasks:
            self._slots[task_id].leaving = True
        self._effects.append(DrainExecutor(executor_id=held.executor_id))

    def _count_given(self, calls: Mapping[ExecutorId, int]) -> None:
        """Hear what executors have, after whatever was to be drained was."""
        for held in self._executors:
            held.calls = calls.get(held.executor_id, 0)
            if held.draining and not held.leaving and not held.calls:
                self._shut_down(held)

    def _shut_down(self, held: HeldExecutor[Kind]) -> None:
        was_asked = held.leaving
        self._executors.leave(held, self._looked_ms + SHUTDOWN_AGAIN_MS)
        if not was_asked:
            self._keep(held.executor_id)
        self._effects.append(ShutdownExecutor(agent_id=held.agent_id, executor_id=held.executor_id))

    def _give_up(self, executor_ids: Iterable[ExecutorId]) -> None:
        """End executors that do not answer, and are not just starting; in the end they count as over without anybody's word."""
        for executor_id in executor_ids:
            held = self._executors.get(executor_id)
            starts = held is not None and any(self._slots[task_id].starting for task_id in held.tasks)
            if held is not None and held.over_at_ms is None and not starts:
                held.over_at_ms = self._looked_ms + SILENT_OVER_MS
                for task_id in held.tasks:
                    self._slots[task_id].leaving = True
                self._shut_down(held)

    # Growing old

    def _replace_old(self, now_ms: int, max_age_ms: int) -> None:
        """Of each kind one executor at a time gives way to a new one, and is drained once that works."""
        for kind in self._loads:
            old = [each for each in self._executors if each.sort == kind and not (each.leaving or each.draining)]
            retiring = next((each for each in old if each.retiring_since_ms is not None), None)
            if retiring is None:
                retiring = next((each for each in old if each.launched_ms + max_age_ms <= now_ms), None)
                if retiring is not None:
                    retiring.retiring_since_ms = now_ms
                    for task_id in retiring.tasks:
                        self._slots[task_id].retiring = True
                continue
            waited_ms = now_ms - (retiring.retiring_since_ms or 0)
            if working(kind, self._slots) >= self._target(kind) or waited_ms >= REPLACE_PATIENCE_MS:
                self._drain(retiring)

    # Hearing

    def _update(self, status: TaskStatus, now_ms: int) -> None:
        slot = self._slots.get(status.task_id)
        word = WORD_OF_STATE[status.state]
        if slot is None:
            self._end_stranger(status, word)
            return
        if status.source is not Source.MASTER:
            self._executors.confirm(slot.executor_id)
        if word is Word.ALIVE:
            slot.deadline_ms = None
            slot.starting = status.state in UNSTARTED_STATES
            if status.state is TaskState.RUNNING:
                self._loads[slot.kind].failed = 0
                if not slot.running:
                    slot.running = True
                    self._say_workers(slot.executor_id)
        elif word is Word.UNSEEN:
            if slot.deadline_ms is None:
                slot.deadline_ms = now_ms + UNREACHABLE_MS
        else:
            self._slot_ended(slot, status, word, now_ms)

    def _end_stranger(self, status: TaskStatus, word: Word) -> None:
        """End a worker that nobody knows, and its executor, which would stay.

        It was given up while its agent was out of sight, or is of a life of which nothing is kept. The worker's own end may be
        the first that is heard of it.
        """
        if word is Word.ALIVE:
            self._effects.append(KillTask(task_id=status.task_id))
        elif word is not Word.ENDED or status.reason in EXECUTOR_IS_OVER:
            return
        executor_id, agent_id = status.executor_id, status.agent_id
        if agent_id is not None and executor_id is not None and self._executors.get(executor_id) is None:
            self._effects.append(ShutdownExecutor(agent_id=agent_id, executor_id=executor_id))

    def _slot_ended(self, slot: Slot, status: TaskStatus, word: Word, now_ms: int) -> None:
        del self._slots[status.task_id]
        held = self._executors.get(slot.executor_id)
        self._executors.task_ended(slot.executor_id, status.task_id, now_ms)
        if not slot.running and not slot.leaving:
            self._failed(slot.kind, status, word)
        if held is None:
            return
        is_over = word is Word.LOST or status.reason in EXECUTOR_IS_OVER
        if is_over and status.state is not TaskState.DROPPED:
            self._over(held, status.message or status.state.value)
        elif self._executors.get(slot.executor_id) is None:
            # Its launch came to nothing.
            self._effects.append(ExecutorOver(executor_id=held.executor_id, message=status.message))
        else:
            self._keep(slot.executor_id)
            if slot.running and not slot.leaving:
                self._say_workers(slot.executor_id)

    def _failed(self, kind: Kind, status: TaskStatus, word: Word) -> None:
        """A worker ended before it ran: see whether any will."""
        load = self._loads[kind]
        ending = CallLost(status.message) if word is Word.UNSTARTED else error_of(status)
        load.failed += 1
        load.why = str(ending)
        # The master's own refusals may pass: an executor that had just ended may have been counted on.
        hopeless = isinstance(ending, CannotRun) and status.source is not Source.MASTER
        most = MAX_UNSTARTED if word is Word.UNSTARTED else MAX_FAILED_EXECUTORS
        if hopeless or load.failed >= most:
            error = ending if isinstance(ending, CannotRun) else CannotRun(f"no worker starts: {load.why}")
            self._refuse(kind, error)

    def _executor_ended(self, event: ExecutorEnded) -> None:
        for held in self._executors.on_agent(event.agent_id):
            if event.executor_id in (None, held.executor_id):
                self._over(held, event.message or "it ended")
        if event.executor_id is None:
            self._effects.append(AgentGone(agent_id=event.agent_id, message=event.message or "the master removed it"))

    def _say_workers(self, executor_id: ExecutorId) -> None:
        """How many workers it has has changed."""
        held = self._executors.get(executor_id)
        if held is not None:
            slots = [self._slots[task_id] for task_id in held.tasks]
            workers = sum(slot.running and not slot.leaving for slot in slots)
            self._effects.append(WorkersChanged(executor_id=executor_id, workers=workers))

    def _over(self, held: HeldExecutor[Kind], message: str) -> None:
        """An executor is over, and its workers with it, whether their last words have come or not."""
        ended_early = [task_id for task_id in held.tasks if not self._slots[task_id].running]
        for task_id in held.tasks:
            self._slots.pop(task_id, None)
        held.tasks.clear()
        self._executors.remove(held)
        if ended_early:
            self._loads[held.sort].failed += 1
            if self._loads[held.sort].failed >= MAX_FAILED_EXECUTORS:
                self._refuse(held.sort, CannotRun(f"no worker starts: {message}"))
        self._effects.append(ExecutorOver(executor_id=held.executor_id, message=message))

    def _refuse(self, kind: Kind, error: CallError) -> None:
        load = self._loads[kind]
        load.failed = load.calls = 0
        self._effects.append(RefuseKind(kind=kind, error=error))

    def _refuse_shape(self, event: TooLarge) -> None:
        for kind in list(self._loads):
            if is_meant(event, kind, self._holding):
                self._refuse(kind, too_large(event))

    def _tick(self, now_ms: int) -> None:
        for task_id, slot in list(self._slots.items()):
            if slot.deadline_ms is not None and slot.deadline_ms <= now_ms and task_id in self._slots:
                held = self._executors.get(slot.executor_id)
                assert held is not None
                self._over(held, f"its agent was out of sight for {UNREACHABLE_MS / 1000:g} s")
        for held in self._executors.due(now_ms):
            if held.over_at_ms is not None and held.over_at_ms <= now_ms:
                self._over(held, "it did not answer, and nobody has said that it ended")
            elif self._holding.drains and not held.leaving:
                self._drain(held)
            else:
                self._shut_down(held)
        if self._holding.max_age_ms is not None:
            self._replace_old(now_ms, self._holding.max_age_ms)
