"""Whatever happens to its attempts, each call has one end, and none begins twice that may not. Seed by seed.

A cluster as bad as allowed: launches get lost, executors and agents end, agents hide and come back, offers are rescinded,
callers cancel and kill. What is checked after each step are the core's own invariants and what every master would refuse;
at the end, when nothing goes wrong any more, that nothing is left.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from mesolite.executors.python.calls import End, Outcome
from mesolite.frameworks.driver.scheduling import DeclineOffers, StateDemand, Ticked
from mesolite.frameworks.futures.effects import EndCall, FineEffect, KillTask, LaunchCalls, ShutdownExecutor
from mesolite.frameworks.futures.events import (
    CallKilled,
    CallsArrived,
    CallsWithdrawn,
    FineEvent,
    Rescinded,
)
from mesolite.frameworks.futures.fine import FineCore
from mesolite.ids import ExecutorId
from mesolite.protocol import Reason, Source, TaskInfo, TaskState, TaskStatus
from mesolite.resources import Resources

from .bad_cluster import BadCluster
from .rig import PROGRAM, call, status

RETURNED = Outcome(End.RETURNED, b"value")
STEPS = 300


@dataclass
class Calls(BadCluster):
    """Tasks, each of which is a call, and the core that has them."""

    core: FineCore = field(default_factory=lambda: FineCore(PROGRAM))
    retries: dict[int, int] = field(default_factory=dict[int, int])
    begun: "Counter[int]" = field(default_factory=Counter[int])
    withdrawn: set[int] = field(default_factory=set[int])

    def hear(self, event: FineEvent) -> None:
        effects = self.core.apply(event)
        self.core.check()
        for effect in effects:
            self.carry_out(effect)

    def carry_out(self, effect: FineEffect) -> None:
        match effect:
            case LaunchCalls():
                self.launch(effect)
            case DeclineOffers():
                for offer_id in effect.offer_ids:
                    del self.offers[offer_id]
            case StateDemand():
                self.wanted = sum(demand.count for demand in effect.demands)
            case KillTask():
                if effect.task_id in self.tasks:
                    self.say(self.tasks[effect.task_id], TaskState.KILLED)
            case EndCall():
                self.ends[effect.number] += 1
            case ShutdownExecutor():
                self.end_executor(effect.executor_id)
            case _:
                pass

    def launch(self, launch: LaunchCalls) -> None:
        offers = [self.offers.pop(offer_id) for offer_id in launch.offer_ids]
        left = Resources.of(resource for each in offers for resource in each.resources)
        new = {task.executor.executor_id: task.executor for task in launch.tasks if task.executor is not None}
        for executor_id, info in new.items():
            if executor_id not in self.executors:
                left -= Resources.of(info.resources)
        for task, number in zip(launch.tasks, launch.numbers, strict=True):
            left -= Resources.of(task.resources)
            assert task.task_id not in self.seen_ids, "an id is used twice"
            self.seen_ids.add(task.task_id)
            assert number not in self.withdrawn, "a call is launched that was cancelled"
            if self.rng.random() < 0.15:
                self.later(status(task.task_id, TaskState.DROPPED, source=Source.MASTER))
                continue
            self.begun[number] += 1
            assert self.begun[number] <= 1 + self.retries[number], "a call began twice that may not"
            self.tasks[task.task_id] = task
            self.executors |= set(new)

    def later(self, word: TaskStatus) -> None:
        """Say it when the event at hand is dealt with."""
        self.unsaid.append(word)

    def say(
        self, task: TaskInfo, state: TaskState, outcome: Outcome | None = None, reason: Reason | None = None
    ) -> None:
        if state not in (TaskState.RUNNING, TaskState.UNREACHABLE):
            del self.tasks[task.task_id]
        source = Source.MASTER if state is TaskState.UNREACHABLE else Source.EXECUTOR
        self.later(status(task.task_id, state, outcome=outcome, reason=reason, source=source))

    def end_executor(self, executor_id: ExecutorId) -> None:
        if executor_id not in self.executors:
            return
        self.executors.discard(executor_id)
        for task in list(self.tasks.values()):
            if task.executor is not None and task.executor.executor_id == executor_id:
                self.say(task, TaskState.FAILED, reason=Reason.EXECUTOR_TERMINATED)
        self.say_over(executor_id)

    def submit(self) -> None:
        self.submitted += 1
        self.retries[self.submitted] = self.rng.choice((0, 0, 2))
        arrived = (call(self.submitted, retries=self.retries[self.submitted]),)
        self.hear(CallsArrived(now_ms=self.now_ms, calls=arrived))

    def misbehave(self) -> None:
        chance = self.rng.random()
        number = self.rng.randint(1, max(1, self.submitted))
        if chance < 0.3:
            self.submit()
        elif chance < 0.5 and self.wanted:
            self.make_offer()
        elif chance < 0.55 and self.executors:
            self.end_executor(self.rng.choice(sorted(self.executors)))
        elif chance < 0.6 and number in self.retries and not self.begun[number] and not self.ends[number]:
            self.withdrawn.add(number)
            self.hear(CallsWithdrawn(now_ms=self.now_ms, numbers=(number,)))
        elif chance < 0.63:
            self.hear(CallKilled(now_ms=self.now_ms, number=number))
        elif chance < 0.66 and self.offers:
            offer_id = self.rng.choice(sorted(self.offers))
            del self.offers[offer_id]
            self.hear(Rescinded(now_ms=self.now_ms, offer_ids=(offer_id,)))
        elif self.tasks:
            task = self.tasks[self.rng.choice(sorted(self.tasks))]
            state = self.rng.choice((TaskState.RUNNING, TaskState.UNREACHABLE, TaskState.FINISHED, TaskState.GONE))
            self.say(task, state, RETURNED if state is TaskState.FINISHED else None)
        self.now_ms += self.rng.choice((1, 100, 5000))
        self.hear(Ticked(now_ms=self.now_ms))
        self.settle()


@pytest.mark.parametrize("seed", range(30))
def test_every_call_has_one_end(seed: int) -> None:
    cluster = Calls(random.Random(seed))
    for _ in range(STEPS):
        cluster.misbehave()
    for _ in range(20 * STEPS):
        if cluster.wanted:
            cluster.make_offer()
        for task in list(cluster.tasks.values()):
            cluster.say(task, TaskState.FINISHED, RETURNED)
        cluster.settle()
        cluster.now_ms += 1000
        cluster.hear(Ticked(now_ms=cluster.now_ms))
        cluster.settle()
        if not cluster.wanted and not cluster.tasks and not cluster.offers:
            break
    expected = set(cluster.retries) - cluster.withdrawn
    assert {number for number, count in cluster.ends.items() if count} == expected
    assert set(cluster.ends.values()) == {1}
    assert cluster.core.next_deadline_ms() is None or not cluster.offers
