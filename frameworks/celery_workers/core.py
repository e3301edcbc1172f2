"""The core of elastic workers: looks, offers and updates in; launches and farewells out. Decides for one group.

How many there should be is `sizing`'s word. Here it is made true: what is missing is demanded and launched, what is too much is
let go, idle ones first. Who is let go counts no more, and is not called back.

What it knows of its workers survives it: it says what is to be kept (`Remember`), and a later life begins with that. A worker
that was forgotten all the same is known again by its task's id.
"""

from collections.abc import Iterable
from typing import Final, assert_never

from mesolite.protocol import Demand, TaskInfo, TaskState, TaskStatus
from mesolite.resources import Resources

from ..driver.placement import Want, demands, place
from ..driver.scheduling import DeclineOffers, Offered, ReviveOffers, StateDemand, Ticked, TooLarge, Updated
from .backoff import StartBackoff
from .command import worker_task
from .effects import Drained, LaunchWorkers, LetGo, Remember, WorkersEffect
from .events import DrainAsked, Looked, LookFailed, WorkersEvent
from .group import Group
from .looks import Look, WorkerView
from .settings import EARLY_DEATH_MS, MAX_REASON_LENGTH, REFUSE_MS, START_PATIENCE_MS
from .sizing import Load, Sizing
from .status import GroupStatus, WorkerStatus
from .waiting_age import WaitingAge
from .worker import WORD_OF_STATE, Phase, Word, Worker, node_name, number_of, task_id

_NOTHING_SEEN: Final = Look(waiting={})


class WorkersCore:
    """All workers of one group."""

    def __init__(self, group: Group, token: str, *, grace_ms: int | None = None, kept: Iterable[Worker] = ()) -> None:
        """Begin, or go on.

        Args:
            group: What is wanted.
            token: Of this life; of no other.
            grace_ms: How long a worker may take to end, where it is not the group's word.
            kept: Workers of an earlier life.
        """
        self._group = group
        #: What one worker takes of an agent.
        self._shape = group.worker.resources
        self._token = token
        self._grace_ms = group.drain_grace_ms if grace_ms is None else grace_ms
        #: By task id, in the order of their launch.
        self._workers: dict[str, Worker] = {worker.task_id: worker for worker in kept}
        self._launches = 0
        self._now_ms = 0
        self._sizing = Sizing(group)
        self._sizing.begin_at(self._capacity())
        self._age = WaitingAge()
        self._age_ms = 0
        self._backoff = StartBackoff()
        self._look = _NOTHING_SEEN
        #: Why the newest look failed; empty where it did not.
        self._blind = ""
        #: Why no worker fits; empty where it may.
        self._too_large = ""
        self._draining = False
        self._said_drained = False
        #: The demand as last stated; None before the first.
        self._stated: tuple[Demand, ...] | None = None
        #: Offers were declined with a filter since the last revival.
        self._filtered = False
        self._effects: list[WorkersEffect] = []
        #: To be kept, and to be forgotten, with the end of the event; by task id.
        self._changed: dict[str, Worker] = {}
        self._forgotten: dict[str, Worker] = {}
        #: Said again by the first event: who was let go by an earlier life may not have heard it.
        self._owed = [LetGo(task_id=each.task_id) for each in self._workers.values() if each.phase is Phase.LEAVING]

    def apply(self, event: WorkersEvent) -> list[WorkersEffect]:
        """Take one event in. Total: what makes no sense changes nothing."""
        effects = self._effects = list[WorkersEffect](self._owed)
        self._owed = []
        now_ms = self._now_ms = event.now_ms
        self._note_lived(now_ms)
        match event:
            case Looked():
                self._see(event.look, now_ms)
            case LookFailed():
                self._blind = event.reason[:MAX_REASON_LENGTH]
                self._sizing.blind()
            case Offered():
                self._offer(event)
            case Updated():
                for status in event.statuses:
                    self._hear(status, now_ms)
            case TooLarge():
                asked, largest = Resources.of(event.demand.shape), Resources.of(event.largest).unallocated()
                self._too_large = (
                    f"no agent is large enough: a worker asks for {asked}, the largest agent has {largest}"
                )
            case DrainAsked():
                self._draining = True
            case Ticked():
                pass
            case _:
                assert_never(event)
        self._let_go_of_surplus(now_ms)
        self._state_demand(now_ms)
        self._say_drained()
        return self._remembering(effects)

    def next_deadline_ms(self) -> int | None:
        """When the core wants a `Ticked` at the latest."""
        if not self._backoff.is_probing:
            return None
        due = [worker.running_ms + EARLY_DEATH_MS for worker in self._counting() if worker.running_ms is not None]
        if self._missing_bare():
            due.append(self._backoff.until_ms)
        return min((each for each in due if each > self._now_ms), default=None)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Who is to be asked how it goes."""
        return tuple(worker.node for worker in self._workers.values() if not worker.hidden)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """All that may live."""
        return tuple(self._workers.values())

    @property
    def status(self) -> GroupStatus:
        """How it stands."""
        return GroupStatus(
            group=self._group.name,
            target=0 if self._draining else self._sizing.target,
            workers=tuple(self._worker_status(worker) for worker in self._workers.values()),
            waiting=dict(self._look.waiting),
            age_ms=self._age_ms,
            trouble=self._trouble(),
            draining=self._draining,
        )

    def check(self) -> None:
        """Assert every invariant."""
        numbers = [worker.number for worker in self._workers.values()]
        assert len(numbers) == len(set(numbers)), f"two workers have one name: {sorted(numbers)}"
        assert self._group.least <= self._sizing.target <= self._group.most
        for named, worker in self._workers.items():
            assert named == worker.task_id, f"{named} leads to {worker.task_id}"

    # Seeing

    def _see(self, look: Look, now_ms: int) -> None:
        self._blind = ""
        self._look = look
        for worker in self._workers.values():
            view = look.workers.get(worker.node)
            if view is None:
                continue
            self._age.note_begun(worker.node, view.begun)
            if worker.phase is Phase.LAUNCHED:
                worker.phase = Phase.UP
                self._changed[worker.task_id] = worker
        staying = self._counting()
        views = [self._view(worker, now_ms) for worker in staying]
        leaving = [look.workers.get(worker.node) for worker in self._workers.values() if worker.phase is Phase.LEAVING]
        waiting = sum(look.waiting.values()) + sum(view.reserved for view in views)
        begun = self._age.take_begun()
        self._age_ms = self._age.look(now_ms, waiting)
        load = Load(
            active=sum(view.active for view in views),
            leaving=sum(view.active for view in leaving if view is not None),
            waiting=waiting,
            scheduled=sum(view.scheduled for view in views),
            begun=begun,
            age_ms=self._age_ms,
            all_up=len(staying) >= self._sizing.target and not any(self._is_starting(each, now_ms) for each in staying),
        )
        self._sizing.look(now_ms, load)

    def _view(self, worker: Worker, now_ms: int) -> WorkerView:
        """What a worker has in hand: as it said, or as much as it can where it should answer and does not."""
        view = self._look.workers.get(worker.node)
        if view is not None:
            return view
        return WorkerView(active=0 if self._is_starting(worker, now_ms) else self._group.worker.concurrency, reserved=0)

    def _is_starting(self, worker: Worker, now_ms: int) -> bool:
        """Whether it need not answer yet."""
        return worker.phase is Phase.LAUNCHED and now_ms - worker.launched_ms < START_PATIENCE_MS

    # Hearing

    def _hear(self, status: TaskStatus, now_ms: int) -> None:
        word = WORD_OF_STATE[status.state]
        worker = self._workers.get(status.task_id)
        if worker is None:
            worker = self._adopt(status, now_ms) if word in (Word.ALIVE, Word.ENDING) else None
            if worker is None:
                return
        match word:
            case Word.ALIVE | Word.ENDING:
                self._lives(worker, status, now_ms)
            case Word.HIDDEN:
                worker.hidden = True
                self._changed[worker.task_id] = worker
            case Word.ENDED:
                if worker.phase is not Phase.LEAVING:
                    self._backoff.died(now_ms, worker.age_ms(now_ms), _reason(worker, status))
                self._remove(worker)
            case Word.KILLED | Word.LOST:
                self._remove(worker)
            case _:
                assert_never(word)

    def _lives(self, worker: Worker, status: TaskStatus, now_ms: int) -> None:
        before = (worker.hidden, worker.running_ms, worker.phase)
        worker.hidden = False
        if status.state is TaskState.RUNNING and worker.running_ms is None:
            worker.running_ms = now_ms
        if status.state is TaskState.KILLING:
            # Whoever asked for it, it takes nothing more.
            worker.phase = Phase.LEAVING
        if (worker.hidden, worker.running_ms, worker.phase) != before:
            self._changed[worker.task_id] = worker

    def _adopt(self, status: TaskStatus, now_ms: int) -> Worker | None:
        """Know a worker again that was launched and forgotten; one whose name another has by now is let go."""
        number = number_of(self._group.name, status.task_id)
        if number is None or any(worker.number == number for worker in self._workers.values()):
            self._effects.append(LetGo(task_id=status.task_id))
            return None
        worker = Worker(
            task_id=status.task_id,
            number=number,
            node=node_name(self._group.name, number),
            agent_id=status.agent_id,
            launched_ms=now_ms,
        )
        self._workers[worker.task_id] = worker
        self._changed[worker.task_id] = worker
        self._sizing.begin_at(max(self._sizing.target, self._capacity()))
        return worker

    def _remove(self, worker: Worker) -> None:
        del self._workers[worker.task_id]
        self._age.forget(worker.node)
        self._changed.pop(worker.task_id, None)
        self._forgotten[worker.task_id] = worker

    def _note_lived(self, now_ms: int) -> None:
        if self._backoff.is_probing and any(w.age_ms(now_ms) >= EARLY_DEATH_MS for w in self._counting()):
            self._backoff.lived()

    # Growing

    def _offer(self, event: Offered) -> None:
        want = Want(
            key=None,
            shape=self._shape,
            count=self._missing(event.now_ms),
            role=self._group.worker.role,
        )
        plan = place(event.offers, (want,))
        for placement in plan.placements:
            hostname = placement.offers[0].hostname
            tasks: list[TaskInfo] = []
            for fill in placement.fills:
                for _ in range(fill.count):
                    worker = self._new_worker(event.now_ms)
                    worker.agent_id, worker.hostname = placement.agent_id, hostname
                    number, named = worker.number, worker.task_id
                    resources = fill.resources
                    tasks.append(worker_task(self._group, number, named, placement.agent_id, resources, self._grace_ms))
            self._too_large = ""
            self._effects.append(LaunchWorkers(offer_ids=placement.offer_ids, tasks=tuple(tasks)))
        if plan.unused:
            wanted = self._missing(event.now_ms) > 0
            self._filtered = self._filtered or wanted
            self._effects.append(DeclineOffers(offer_ids=plan.unused, refuse_ms=REFUSE_MS if wanted else 0))

    def _new_worker(self, now_ms: int) -> Worker:
        taken = {worker.number for worker in self._workers.values()}
        number = next(each for each in range(1, len(taken) + 2) if each not in taken)
        self._launches += 1
        worker = Worker(
            task_id=task_id(self._group.name, number, f"{self._token}{self._launches}"),
            number=number,
            node=node_name(self._group.name, number),
            launched_ms=now_ms,
        )
        self._workers[worker.task_id] = worker
        self._changed[worker.task_id] = worker
        return worker

    def _missing_bare(self) -> int:
        return 0 if self._draining else max(0, self._sizing.target - self._capacity())

    def _missing(self, now_ms: int) -> int:
        """How many more are to be started now."""
        missing = self._missing_bare()
        if not missing or not self._backoff.is_probing:
            return missing
        young = any(worker.age_ms(now_ms) < EARLY_DEATH_MS for worker in self._counting())
        return 0 if young or now_ms < self._backoff.until_ms else 1

    def _state_demand(self, now_ms: int) -> None:
        worker = self._group.worker
        stated = demands((Want(key=None, shape=self._shape, count=self._missing(now_ms), role=worker.role),))
        if stated == self._stated:
            return
        grew = sum(each.count for each in stated) > sum(each.count for each in self._stated or ())
        self._stated = stated
        if not stated:
            self._too_large = ""
        self._effects.append(StateDemand(demands=stated))
        if grew and self._filtered:
            self._filtered = False
            self._effects.append(ReviveOffers())

    # Shrinking

    def _let_go_of_surplus(self, now_ms: int) -> None:
        surplus = self._capacity() - (0 if self._draining else self._sizing.target)
        leaving = sorted(self._counting(), key=lambda worker: self._worth(worker, now_ms))[: max(0, surplus)]
        if self._draining:
            leaving = [worker for worker in self._workers.values() if worker.phase is not Phase.LEAVING]
        for worker in leaving:
            worker.phase = Phase.LEAVING
            self._changed[worker.task_id] = worker
            self._effects.append(LetGo(task_id=worker.task_id))

    def _worth(self, worker: Worker, now_ms: int) -> tuple[int, int, int, int]:
        """Order workers by how much is lost with them: who has less in hand goes first, and of equals the newest."""
        view = self._look.workers.get(worker.node)
        if view is None:
            # One that is still starting has nothing; one that should answer and does not may have its hands full.
            in_hand, waits = (0, 0) if self._is_starting(worker, now_ms) else (self._group.worker.concurrency, 1)
        else:
            in_hand, waits = view.active, view.reserved + view.scheduled
        return in_hand, waits, -worker.launched_ms, -worker.number

    def _say_drained(self) -> None:
        if self._draining and not self._said_drained and all(worker.hidden for worker in self._workers.values()):
            self._said_drained = True
            self._effects.append(Drained())

    # Telling

    def _remembering(self, effects: list[WorkersEffect]) -> list[WorkersEffect]:
        if self._changed or self._forgotten:
            remember = Remember(
                kept=tuple(self._changed.values()),
                forgotten=tuple(worker.task_id for worker in self._forgotten.values()),
            )
            effects.insert(0, remember)
            self._changed.clear()
            self._forgotten.clear()
        self._effects = []
        return effects

    def _worker_status(self, worker: Worker) -> WorkerStatus:
        view = self._look.workers.get(worker.node)
        return WorkerStatus(
            node=worker.node,
            task_id=worker.task_id,
            phase=worker.phase.value,
            hostname=worker.hostname,
            hidden=worker.hidden,
            active=view.active if view is not None else None,
            reserved=view.reserved if view is not None else None,
        )

    def _trouble(self) -> str:
        troubles = [self._too_large]
        if self._blind:
            troubles.append(f"the broker does not answer, so what there is stays: {self._blind}")
        if self._backoff.is_probing:
            troubles.append(f"a worker died soon after its start, {self._backoff.reason}")
        return "; ".join(trouble for trouble in troubles if trouble)

    def _counting(self) -> list[Worker]:
        return [worker for worker in self._workers.values() if worker.counts]

    def _capacity(self) -> int:
        return len(self._counting())


def _reason(worker: Worker, status: TaskStatus) -> str:
    said = status.message or (status.reason.value if status.reason is not None else status.state.value)
    return f"{worker.node}: {said}; see `mesolite logs {worker.task_id}`"[:MAX_REASON_LENGTH]
