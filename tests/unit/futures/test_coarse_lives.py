"""Whatever happens to its workers, a pool says once that an executor is up, and once that it is over; each call has one end.

A cluster as bad as allowed: launches get lost, workers fail, executors and agents end, agents hide and come back, offers are
rescinded, the load rises and falls. A dumb engine gives calls to executors as the core names them, one for each worker. Checked
after each step are the core's own invariants, that no executor is called over which is seen to run, and what every master would
refuse; at the end, when nothing goes wrong any more, that every call has ended once and that all workers are given back.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from mesolite.frameworks.driver.scheduling import DeclineOffers, ReviveOffers, StateDemand, Ticked
from mesolite.frameworks.futures.coarse import CoarseCore
from mesolite.frameworks.futures.effects import (
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
from mesolite.frameworks.futures.events import CallsGiven, CoarseEvent, ExecutorEnded, LoadChanged, Rescinded
from mesolite.frameworks.futures.holding import Holding
from mesolite.ids import AgentId, ExecutorId, OfferId
from mesolite.protocol import Reason, Source, TaskInfo, TaskState
from mesolite.resources import Resources

from .bad_cluster import BadCluster
from .rig import KIND, PROGRAM, status

STEPS = 300
MAX_WORKERS = 6
IDLE_MS = 5000
#: Reasons for which all tasks of an executor end together.
ENDS = (Reason.EXECUTOR_TERMINATED, Reason.CONTAINER_LIMITATION_MEMORY, Reason.EXECUTOR_REGISTRATION_TIMEOUT)


def executor_of(task: TaskInfo) -> ExecutorId:
    assert task.executor is not None, "a slot is of an executor"
    return task.executor.executor_id


@dataclass
class Pool(BadCluster):
    """Workers, calls, and the core that holds them."""

    #: Whether executors end what they have before they do.
    drains: bool = True

    #: Executors of which the master said that they are out of sight.
    hidden: set[ExecutorId] = field(default_factory=set[ExecutorId])
    #: As the core named them: those that count, and all there ever were.
    up: set[ExecutorId] = field(default_factory=set[ExecutorId])
    named: set[ExecutorId] = field(default_factory=set[ExecutorId])
    #: Calls that no executor has, and who has the others.
    waiting: list[int] = field(default_factory=list[int])
    given: dict[int, ExecutorId] = field(default_factory=dict[int, ExecutorId])

    draining: set[ExecutorId] = field(default_factory=set[ExecutorId])

    def __post_init__(self) -> None:
        holding = Holding(max_workers=MAX_WORKERS, idle_ms=IDLE_MS, drains=self.drains)
        self.core = CoarseCore(PROGRAM, KIND, holding)

    def hear(self, event: CoarseEvent) -> None:
        effects = self.core.apply(event)
        self.core.check()
        for effect in effects:
            self.carry_out(effect)
        assert not self.offers, "an offer is neither used nor given back"

    def carry_out(self, effect: CoarseEffect) -> None:
        match effect:
            case LaunchSlots():
                self.launch(effect)
            case DeclineOffers():
                for offer_id in effect.offer_ids:
                    del self.offers[offer_id]
            case StateDemand():
                self.wanted = sum(demand.count for demand in effect.demands)
            case KillTask():
                if effect.task_id in self.tasks:
                    self.say(self.tasks[effect.task_id], TaskState.KILLED)
            case DrainExecutor():
                assert self.drains
                self.draining.add(effect.executor_id)
            case ShutdownExecutor():
                unfinished = self.drains and effect.executor_id in self.given.values()
                assert not unfinished, "an executor is shut down under its call"
                self.end_executor(effect.executor_id, Reason.EXECUTOR_TERMINATED)
            case ExecutorUp():
                assert effect.executor_id not in self.named, "an id is used twice"
                self.named.add(effect.executor_id)
                self.up.add(effect.executor_id)
            case ExecutorOver():
                self.lose(effect.executor_id)
            case RefuseKind():
                for number in (*self.waiting, *self.given):
                    self.ends[number] += 1
                self.waiting.clear()
                self.given.clear()
            case WorkersChanged():
                assert effect.executor_id in self.up, "of what is over nothing is said"
            case ReviveOffers() | AgentGone() | KeepExecutor():
                pass

    def launch(self, launch: LaunchSlots) -> None:
        offers = [self.offers.pop(offer_id) for offer_id in launch.offer_ids]
        left = Resources.of(resource for each in offers for resource in each.resources)
        for executor_id, info in {executor_of(task): task.executor for task in launch.tasks}.items():
            assert executor_id in self.up, "a worker is launched under an executor that is not up"
            if info is not None and executor_id not in self.executors:
                left -= Resources.of(info.resources)
        for task in launch.tasks:
            left -= Resources.of(task.resources)
            assert task.task_id not in self.seen_ids, "an id is used twice"
            self.seen_ids.add(task.task_id)
            if self.rng.random() < 0.15:
                self.unsaid.append(status(task.task_id, TaskState.DROPPED, source=Source.MASTER))
            else:
                self.tasks[task.task_id] = task
                self.executors.add(executor_of(task))

    def lose(self, executor_id: ExecutorId) -> None:
        """The core said that an executor is over."""
        assert executor_id in self.up, "an executor is over that was not up, or is over twice"
        self.up.remove(executor_id)
        seen = executor_id in self.executors and executor_id not in self.hidden
        assert not seen, "an executor is called over that is seen to run"
        for number in [number for number, holder in self.given.items() if holder == executor_id]:
            del self.given[number]
            if self.rng.random() < 0.5:
                self.waiting.append(number)
            else:
                self.ends[number] += 1

    def say(self, task: TaskInfo, state: TaskState, reason: Reason | None = None) -> None:
        if state in (TaskState.RUNNING, TaskState.UNREACHABLE):
            (self.hidden.add if state is TaskState.UNREACHABLE else self.hidden.discard)(executor_of(task))
        else:
            del self.tasks[task.task_id]
        if state in (TaskState.UNREACHABLE, TaskState.GONE):
            said = status(task.task_id, state, reason=reason, source=Source.MASTER)
        else:
            said = status(task.task_id, state, reason=reason, executor_id=executor_of(task))
        self.unsaid.append(said)

    def tasks_of(self, executor_id: ExecutorId) -> list[TaskInfo]:
        return [task for task in self.tasks.values() if executor_of(task) == executor_id]

    def end_executor(self, executor_id: ExecutorId, reason: Reason) -> None:
        if executor_id not in self.executors:
            return
        self.executors.discard(executor_id)
        for task in self.tasks_of(executor_id):
            self.say(task, TaskState.FAILED, reason)
        self.say_over(executor_id)

    def lose_agent(self, agent_id: AgentId) -> None:
        """It is gone for good, and everything on it."""
        for executor_id in sorted(each for each in self.executors if each.endswith(f"@{agent_id}")):
            self.executors.discard(executor_id)
            for task in self.tasks_of(executor_id):
                self.say(task, TaskState.GONE)
        self.over.append(
            ExecutorEnded(now_ms=self.now_ms, agent_id=agent_id, executor_id=None, exit_code=None, message="gone")
        )

    def hide(self, executor_id: ExecutorId) -> None:
        """Its agent is out of sight, and all its tasks are."""
        for task in self.tasks_of(executor_id):
            self.say(task, TaskState.UNREACHABLE)

    def show(self, executor_id: ExecutorId) -> None:
        """Its agent is back, and says how all its tasks are."""
        for task in self.tasks_of(executor_id):
            self.say(task, TaskState.RUNNING)

    def submit(self) -> None:
        self.submitted += 1
        self.waiting.append(self.submitted)

    def work(self) -> None:
        """Give calls to workers of executors that are up, one to each, and tell the core how many there are."""
        for executor_id in sorted((self.up & self.executors) - self.draining):
            room = len(self.tasks_of(executor_id)) - list(self.given.values()).count(executor_id)
            for _ in range(min(room, len(self.waiting))):
                self.given[self.waiting.pop(0)] = executor_id
        calls = len(self.waiting) + len(self.given)
        self.hear(LoadChanged(now_ms=self.now_ms, kind=KIND, calls=calls))

    def return_call(self, number: int) -> None:
        if self.given[number] in self.executors:
            del self.given[number]
            self.ends[number] += 1

    def misbehave(self) -> None:
        chance = self.rng.random()
        if chance < 0.3:
            self.submit()
        elif chance < 0.5 and self.wanted:
            self.make_offer()
        elif chance < 0.55 and self.executors:
            self.end_executor(self.rng.choice(sorted(self.executors)), self.rng.choice(ENDS))
        elif chance < 0.6 and self.executors:
            self.hide(self.rng.choice(sorted(self.executors)))
        elif chance < 0.62:
            self.lose_agent(AgentId(f"agent-{self.rng.randrange(3)}"))
        elif chance < 0.65:
            self.hear(Rescinded(now_ms=self.now_ms, offer_ids=(OfferId(f"offer-{self.made}"),)))
        elif chance < 0.8 and self.given:
            self.return_call(self.rng.choice(sorted(self.given)))
        elif self.tasks:
            task = self.tasks[self.rng.choice(sorted(self.tasks))]
            if executor_of(task) in self.hidden:
                self.show(executor_of(task))
            else:
                self.say(
                    task, self.rng.choice((TaskState.RUNNING, TaskState.RUNNING, TaskState.RUNNING, TaskState.FAILED))
                )
        self.go_on(self.rng.choice((1, 100, 5000)))

    def go_on(self, pause_ms: int) -> None:
        self.settle()
        self.work()
        self.now_ms += pause_ms
        if self.drains:
            self.hear(CallsGiven(now_ms=self.now_ms, calls=Counter(self.given.values())))
        self.hear(Ticked(now_ms=self.now_ms))
        self.settle()

    def behave(self) -> None:
        """Nothing goes wrong, and everybody says how he is."""
        if self.wanted:
            self.make_offer()
        for task in list(self.tasks.values()):
            self.say(task, TaskState.RUNNING)
        for number in list(self.given):
            self.return_call(number)
        self.go_on(1000)

    @property
    def is_quiet(self) -> bool:
        return not (self.waiting or self.given or self.tasks or self.executors or self.up)


@pytest.mark.parametrize("drains", [True, False])
# 182: an agent is out of sight for so long that its executor is given up, and comes back with it.
@pytest.mark.parametrize("seed", [*range(30), 182])
def test_every_call_has_one_end_and_every_worker_is_given_back(seed: int, drains: bool) -> None:
    cluster = Pool(random.Random(seed), drains=drains)
    for _ in range(STEPS):
        cluster.misbehave()
    for _ in range(20 * STEPS):
        cluster.behave()
        if cluster.is_quiet:
            break
    assert cluster.ends == Counter(range(1, cluster.submitted + 1)), "a call has no end, or two"
    assert (cluster.tasks, cluster.executors, cluster.up) == ({}, set(), set()), "something is held for nobody"
    assert cluster.core.next_deadline_ms() is None
