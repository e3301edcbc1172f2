"""Workers that go so that calls of another kind get some."""

from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from mesolite.frameworks.driver.scheduling import StateDemand, Ticked
from mesolite.frameworks.futures.balance import DRAIN_PATIENCE_MS, PATIENCE_MS, REST_MS, TURN_MS
from mesolite.frameworks.futures.coarse import CoarseCore
from mesolite.frameworks.futures.effects import CoarseEffect, DrainExecutor, KillTask, LaunchSlots, ShutdownExecutor
from mesolite.frameworks.futures.events import CallsGiven, CoarseEvent, LoadChanged
from mesolite.frameworks.futures.holding import Holding
from mesolite.frameworks.futures.options import CallOptions, Kind
from mesolite.frameworks.futures.room import FORGET_MS
from mesolite.ids import AgentId, ExecutorId
from mesolite.protocol import TaskInfo, TaskState

from .rig import AGENT, PROGRAM, offer, offered, status, updated

_Effect = TypeVar("_Effect")
IDLE_MS = 60_000
SMALL = CallOptions(cpus=1, mem_mib=256).kind
MEDIUM = CallOptions(cpus=1.5, mem_mib=200).kind
LARGE = CallOptions(cpus=3, mem_mib=1_024).kind
#: As large as the large one.
HUGE = CallOptions(cpus=3, mem_mib=1_023).kind
#: As small as the small one.
ALIKE = CallOptions(cpus=1, mem_mib=255).kind


@dataclass
class Rig:
    """A core that is checked after each event; each worker has a call unless a test says otherwise."""

    max_workers: int | None = None
    drains: bool = True
    together: int | None = 1
    now_ms: int = 1_000
    effects: list[CoarseEffect] = field(default_factory=list[CoarseEffect])
    tasks: dict[ExecutorId, list[TaskInfo]] = field(default_factory=dict[ExecutorId, list[TaskInfo]])

    def __post_init__(self) -> None:
        holding = Holding(
            max_workers=self.max_workers, idle_ms=IDLE_MS, workers_per_executor=self.together, drains=self.drains
        )
        self.core = CoarseCore(PROGRAM, SMALL, holding)

    def hear(self, event: CoarseEvent) -> None:
        self.effects = self.core.apply(event)
        self.core.check()

    def load(self, kind: Kind, calls: int) -> None:
        self.hear(LoadChanged(now_ms=self.now_ms, kind=kind, calls=calls))

    def offer(self, cpus: float, *, agent: str = AGENT, runs: bool = True) -> list[TaskInfo]:
        """Offer so much, and let run what is launched."""
        made = offer(f"offer-{self.now_ms}-{agent}", cpus=cpus, mem_mib=16_384, agent_id=AgentId(agent))
        self.hear(offered(self.now_ms, made))
        tasks = [task for launch in self.found(LaunchSlots) for task in launch.tasks]
        for task in tasks:
            assert task.executor is not None
            self.tasks.setdefault(task.executor.executor_id, []).append(task)
            if runs:
                self.hear(updated(self.now_ms, status(task.task_id, TaskState.RUNNING)))
        return tasks

    def pass_time(self, milliseconds: int) -> list[ExecutorId]:
        """Return which executors are drained then."""
        self.now_ms += milliseconds
        self.hear(Ticked(now_ms=self.now_ms))
        return [effect.executor_id for effect in self.found(DrainExecutor)]

    def end(self, *executor_ids: ExecutorId) -> None:
        """Their calls end, and they do."""
        busy = {each: 1 for each in self.tasks if each not in executor_ids}
        self.hear(CallsGiven(now_ms=self.now_ms, calls=busy))
        assert {each.executor_id for each in self.found(ShutdownExecutor)} == set(executor_ids)
        for executor_id in executor_ids:
            for task in self.tasks.pop(executor_id):
                self.hear(updated(self.now_ms, status(task.task_id, TaskState.KILLED)))

    def found(self, kind: type[_Effect]) -> list[_Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def wanted(self, kind: Kind) -> int:
        """How many more of a kind are asked for."""
        [stated] = self.found(StateDemand)
        cpus = kind.cpus_milli
        return sum(
            demand.count
            for demand in stated.demands
            if any(each.name == "cpus" and each.scalar == cpus for each in demand.shape)
        )


def crowded(small: int = 4, **options: object) -> Rig:
    """Small calls have all there is; a large one has just come, and nothing fits it."""
    rig = Rig(**options)  # type: ignore[arg-type]
    rig.load(SMALL, 300)
    assert len(rig.offer(small)) == small
    rig.load(LARGE, 1)
    return rig


def test_who_has_none_gets_room_on_one_agent_and_the_others_keep_one() -> None:
    rig = crowded()
    assert rig.pass_time(PATIENCE_MS - 1) == []
    drained = rig.pass_time(1)
    assert 1 <= len(drained) <= 3
    rig.end(*drained)
    while len(rig.tasks) > 1:
        more = rig.pass_time(PATIENCE_MS)
        assert more, "the large one does not fit yet"
        rig.end(*more)
    assert [task.resources[0].scalar for task in rig.offer(3)] == [LARGE.cpus_milli]
    assert rig.found(KillTask) == []


def test_the_room_that_is_made_is_not_asked_for_by_those_who_made_it() -> None:
    rig = crowded()
    assert rig.wanted(SMALL) > 0
    drained = rig.pass_time(PATIENCE_MS)
    assert (rig.wanted(SMALL), rig.wanted(LARGE)) == (0, 1)
    rig.end(*drained)
    assert (rig.wanted(SMALL), rig.wanted(LARGE)) == (0, 1)
    assert rig.offer(1) == [], "it was offered before it was heard that nobody small asks for it"


def test_they_ask_again_when_it_was_taken_or_is_wanted_no_longer() -> None:
    taken, unwanted = crowded(), crowded()
    for rig in (taken, unwanted):
        rig.end(*rig.pass_time(PATIENCE_MS))
    taken.offer(3)
    unwanted.load(LARGE, 0)
    assert taken.wanted(SMALL) > 0
    assert unwanted.wanted(SMALL) > 0


def test_nobody_goes_while_what_waits_grows() -> None:
    rig = crowded()
    rig.pass_time(PATIENCE_MS - 1)
    rig.offer(3, agent="agent-2")
    assert rig.pass_time(PATIENCE_MS) == []


def test_places_of_a_pool_that_may_have_no_more_are_shared_too() -> None:
    rig = crowded(max_workers=4)
    assert rig.wanted(LARGE) == 0
    assert len(rig.pass_time(PATIENCE_MS)) == 1
    assert (rig.wanted(SMALL), rig.wanted(LARGE)) == (0, 1)


def test_where_one_agent_can_make_room_workers_of_that_one_go() -> None:
    rig = Rig()
    rig.load(SMALL, 300)
    rig.offer(1, agent="agent-1")
    rig.offer(3, agent="agent-2")
    rig.offer(1, agent="agent-3")
    rig.load(LARGE, 1)
    assert {each.partition("@")[2] for each in rig.pass_time(PATIENCE_MS)} == {"agent-2"}


def test_the_last_worker_of_a_kind_goes_when_its_turn_is_over_and_not_before() -> None:
    rig = Rig(max_workers=1)
    rig.load(SMALL, 300)
    [only] = rig.offer(1)
    rig.load(LARGE, 1)
    assert rig.pass_time(TURN_MS - 1) == []
    assert only.executor is not None
    assert rig.pass_time(1) == [only.executor.executor_id]


def test_a_worker_that_has_not_begun_is_nobodys_turn() -> None:
    rig = Rig(max_workers=1)
    rig.load(SMALL, 300)
    rig.offer(1, runs=False)
    rig.load(LARGE, 1)
    assert rig.pass_time(10 * TURN_MS) == []


def test_kinds_that_are_alike_come_to_hold_alike_and_then_nobody_goes() -> None:
    rig = crowded()
    rig.load(LARGE, 0)
    rig.load(ALIKE, 300)
    for _ in range(2):
        [drained] = rig.pass_time(PATIENCE_MS)
        rig.end(drained)
        assert len(rig.offer(1)) == 1
    assert [rig.pass_time(PATIENCE_MS) for _ in range(10)] == [[]] * 10


def test_room_that_is_made_in_vain_is_given_back_and_made_again_later() -> None:
    rig = crowded(small=2)
    rig.end(*rig.pass_time(PATIENCE_MS))
    assert rig.pass_time(PATIENCE_MS) == []
    rig.pass_time(TURN_MS)
    # The last one's turn is over, too, and that is all there is.
    rig.end(*rig.tasks)
    rig.pass_time(PATIENCE_MS)
    assert rig.wanted(SMALL) > 0
    assert len(rig.offer(2)) == 2
    assert rig.pass_time(PATIENCE_MS) == []
    assert len(rig.pass_time(REST_MS)) == 1


def in_vain(rig: Rig) -> None:
    """A small one ends for a medium one, which does not fit there, and comes back."""
    [drained] = rig.pass_time(REST_MS + PATIENCE_MS)
    rig.end(drained)
    assert rig.offer(1) == [], "it is for the medium one"
    rig.pass_time(PATIENCE_MS)
    assert len(rig.offer(1)) == 1


def test_what_was_in_vain_twice_is_not_done_there_again_for_an_hour() -> None:
    rig = Rig()
    rig.load(MEDIUM, 300)
    rig.offer(1.5, agent="agent-2")
    rig.load(SMALL, 300)
    rig.offer(4)
    for _ in range(2):
        in_vain(rig)
    while rig.now_ms < FORGET_MS:
        assert rig.pass_time(REST_MS) == []
    assert any(rig.pass_time(REST_MS) for _ in range(3))


def test_with_each_success_twice_as_many_move_at_a_time_until_both_hold_alike() -> None:
    rig = crowded(16)
    rig.load(LARGE, 0)
    rig.load(ALIKE, 300)
    moved: list[int] = []
    while drained := rig.pass_time(PATIENCE_MS):
        rig.end(*drained)
        moved.append(len(rig.offer(len(drained))))
    assert moved == [1, 2, 4, 1]


def test_after_a_plan_in_vain_one_moves_at_a_time_again() -> None:
    rig = crowded(16)
    rig.load(LARGE, 0)
    rig.load(ALIKE, 300)
    for count in (1, 2, 4):
        drained = rig.pass_time(PATIENCE_MS)
        assert len(drained) == count
        rig.end(*drained)
        if count < 4:
            rig.offer(count)
    rig.pass_time(PATIENCE_MS)
    rig.load(ALIKE, 3)
    assert len(rig.offer(4)) == 4, "whoever wants it has it"
    rig.load(ALIKE, 300)
    assert rig.pass_time(PATIENCE_MS) == []
    assert len(rig.pass_time(REST_MS)) == 1


def test_who_has_some_takes_no_room_that_is_made_for_who_has_none() -> None:
    rig = Rig()
    rig.load(LARGE, 1)
    rig.offer(3)
    rig.load(SMALL, 300)
    rig.offer(1, agent="agent-2")
    rig.load(HUGE, 1)
    [drained] = rig.pass_time(TURN_MS)
    rig.end(drained)
    assert (rig.wanted(SMALL), rig.wanted(HUGE)) == (0, 1)
    assert [task.resources[0].scalar for task in rig.offer(3)] == [HUGE.cpus_milli]
    assert rig.wanted(SMALL) > 0


def test_calls_that_never_end_do_not_keep_the_room_for_ever() -> None:
    rig = crowded()
    rig.pass_time(PATIENCE_MS)
    rig.pass_time(DRAIN_PATIENCE_MS)
    assert rig.wanted(SMALL) > 0


@pytest.mark.parametrize("together", [2, 4, None])
def test_of_workers_that_share_a_container_as_many_end_as_are_too_many(together: int | None) -> None:
    rig = crowded(together=together)
    drained = rig.pass_time(PATIENCE_MS)
    killed = [effect.grace_ms for effect in rig.found(KillTask)]
    assert drained or killed
    assert all(grace_ms is not None and grace_ms > 3_600_000 for grace_ms in killed), "under its call"


def test_pools_that_do_not_drain_are_as_they_were() -> None:
    rig = crowded(drains=False)
    assert rig.pass_time(10 * PATIENCE_MS) == []
    assert rig.found(KillTask) == []
    assert rig.wanted(SMALL) > 0
