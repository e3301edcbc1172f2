"""The number of workers under hours of load in virtual time: it follows the load, and does not flap."""

import itertools
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from mesolite.frameworks.celery_workers.group import Group
from mesolite.frameworks.celery_workers.settings import LOOK_INTERVAL_MS
from mesolite.protocol import TaskState
from tests.unit.celery_workers.workbench import Bench, group, launched, let_go, offer, view

HOUR_MS = 3_600_000
#: A real worker has loaded its application by then.
START_MS = 4000


@dataclass
class SimulatedWorker:
    """Works through its queue's messages, and takes some ahead."""

    number: int
    up_ms: int
    leaving: bool = False
    #: When each task that runs is done.
    running: list[int] = field(default_factory=list[int])
    taken: int = 0
    begun: int = 0


class Load:
    """A queue, tasks of one length, and the group that is to serve them.

    Args:
        wanted: The group.
        task_ms: How long a task takes.
        rng: Draws when messages come.
    """

    def __init__(self, wanted: Group, task_ms: int, rng: random.Random) -> None:
        self.bench = Bench(wanted)
        self.bench.tick()
        self.workers: dict[str, SimulatedWorker] = {}
        self.waiting = 0
        #: The target at each look.
        self.targets: list[int] = []
        self._task_ms = task_ms
        self._rng = rng
        self._concurrency = wanted.worker.concurrency

    def run(self, for_ms: int, per_second: float) -> None:
        """Let time pass with so many messages a second."""
        for _ in range(for_ms // LOOK_INTERVAL_MS):
            self.bench.later(LOOK_INTERVAL_MS)
            self.waiting += self._arrivals(per_second * LOOK_INTERVAL_MS / 1000)
            self._work()
            self._look()

    def changes(self) -> int:
        """How often the number turned from growing to shrinking or back."""
        steps = [
            after - before for before, after in zip(self.targets, self.targets[1:], strict=False) if after != before
        ]
        return sum((before > 0) != (after > 0) for before, after in itertools.pairwise(steps))

    def _arrivals(self, mean: float) -> int:
        whole = int(mean)
        return whole + (self._rng.random() < mean - whole)

    def _work(self) -> None:
        now_ms = self.bench.now_ms
        for worker in self.workers.values():
            if now_ms < worker.up_ms:
                continue
            # Each process works back to back through the time since the last look.
            freed = [done_ms for done_ms in worker.running if done_ms <= now_ms]
            worker.running = [done_ms for done_ms in worker.running if done_ms > now_ms]
            idle = self._concurrency - len(worker.running) - len(freed)
            for start_ms in [*freed, *[now_ms - LOOK_INTERVAL_MS // 2] * idle]:
                self._fill(worker, start_ms, now_ms)
            if worker.leaving:
                self.waiting, worker.taken = self.waiting + worker.taken, 0
            else:
                ahead = min(self.waiting, 4 * self._concurrency - worker.taken)
                self.waiting, worker.taken = self.waiting - ahead, worker.taken + ahead

    def _fill(self, worker: SimulatedWorker, start_ms: int, now_ms: int) -> None:
        while start_ms <= now_ms and not worker.leaving and (worker.taken or self.waiting):
            if worker.taken:
                worker.taken -= 1
            else:
                self.waiting -= 1
            worker.begun += 1
            start_ms += self._task_ms
            if start_ms > now_ms:
                worker.running.append(start_ms)

    def _look(self) -> None:
        for named in [each for each, worker in self.workers.items() if worker.leaving and not worker.running]:
            del self.workers[named]
            self.bench.update(named, TaskState.FINISHED)
        views = {
            worker.number: view(active=len(worker.running), reserved=worker.taken, begun=worker.begun)
            for worker in self.workers.values()
            if self.bench.now_ms >= worker.up_ms
        }
        effects = self.bench.look(self.waiting, seen=views)
        staying = sum(not worker.leaving for worker in self.workers.values())
        # There is room for all, whenever it is asked for. Offers that nobody wants are half of the time that this takes.
        target = self.bench.core.status.target
        for task in launched(self.bench.offer(offer(self.bench.group.most))) if staying < target else ():
            number = int(task.task_id.rpartition(".")[0].rpartition("-")[2])
            self.workers[task.task_id] = SimulatedWorker(number, self.bench.now_ms + START_MS)
            effects += self.bench.update(task.task_id, TaskState.RUNNING)
        for named in let_go(effects):
            self.workers[named].leaving = True
        self.targets.append(target)


@pytest.mark.parametrize(("task_ms", "per_second"), [(100, 5.0), (1000, 3.0), (20_000, 0.4), (600_000, 0.01)])
def test_a_steady_load_of_hours_is_served_without_flapping(task_ms: int, per_second: float) -> None:
    load = Load(group(most=20), task_ms, random.Random(1))
    load.run(HOUR_MS, per_second)
    load.targets.clear()
    load.run(3 * HOUR_MS, per_second)
    assert load.changes() <= 4, f"{load.changes()} turns in three hours: {sorted(set(load.targets))}"
    assert load.waiting <= 8 * 20, "it is not keeping up"


def test_an_idle_group_comes_down_to_its_least() -> None:
    load = Load(group(least=1, most=20), 1000, random.Random(2))
    load.run(HOUR_MS // 4, 20.0)
    assert load.targets[-1] > 5
    load.run(HOUR_MS // 4, 0.0)
    assert load.targets[-1] == 1
    assert len(load.workers) == 1


def test_an_overloaded_group_grows_to_its_most_and_stays_there() -> None:
    load = Load(group(most=8), 10_000, random.Random(3))
    load.run(HOUR_MS, 50.0)
    assert load.targets.index(8) < 10, "it took longer than doubling at each look"
    assert set(load.targets[10:]) == {8}


def test_a_day_of_tides_has_one_rise_and_one_fall_for_each() -> None:
    load = Load(group(most=20), 5000, random.Random(4))
    for _ in range(6):
        load.run(HOUR_MS, 3.0)
        load.run(HOUR_MS, 0.0)
    assert 11 <= load.changes() <= 24, load.changes()
    assert load.targets[-1] == 0


# Each example is hours of work: one that fails is not made smaller.
@settings(max_examples=5, phases=(Phase.explicit, Phase.generate))
@example(seed=0, task_ms=5000, busy_processes=1.0, concurrency=1)
@example(seed=0, task_ms=60_000, busy_processes=0.5, concurrency=1)
@given(
    seed=st.integers(0, 10_000),
    task_ms=st.sampled_from([50, 500, 5000, 60_000, 900_000]),
    busy_processes=st.floats(0.05, 15),
    concurrency=st.integers(1, 4),
)
def test_whatever_the_load_is_as_long_as_it_is_steady_nothing_flaps_and_nothing_is_left(
    seed: int, task_ms: int, busy_processes: float, concurrency: int
) -> None:
    """Goal: one policy for tasks of milliseconds and of hours. Method: draw a load that fits; count turns over two hours."""
    load = Load(group(most=20, concurrency=concurrency), task_ms, random.Random(seed))
    per_second = busy_processes * 1000 / task_ms
    load.run(2 * HOUR_MS, per_second)
    load.targets.clear()
    load.run(HOUR_MS, per_second)
    assert load.changes() <= 6, f"{load.changes()} turns: {sorted(set(load.targets))}"
    # The longest quiet time there is, and what ran.
    load.run(HOUR_MS + 4 * task_ms, 0.0)
    assert load.waiting == 0
    assert load.targets[-1] == 0
