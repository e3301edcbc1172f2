"""Executors of one worker each: drained before they end, replaced when they are old, and held further by another life."""

from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import pytest

from mesolite.frameworks.driver.scheduling import StateDemand, Ticked
from mesolite.frameworks.futures.coarse import CoarseCore
from mesolite.frameworks.futures.effects import (
    CoarseEffect,
    DrainExecutor,
    ExecutorOver,
    KeepExecutor,
    KillTask,
    LaunchSlots,
    ShutdownExecutor,
)
from mesolite.frameworks.futures.events import Adopted, CallsGiven, CoarseEvent, ExecutorEnded, LoadChanged, Silent
from mesolite.frameworks.futures.held_record import HeldRecord, decode_record
from mesolite.frameworks.futures.holding import Holding
from mesolite.frameworks.futures.settings import (
    EXECUTOR_IDLE_MS,
    REPLACE_PATIENCE_MS,
    SHUTDOWN_AGAIN_MS,
    SILENT_OVER_MS,
)
from mesolite.ids import ExecutorId
from mesolite.protocol import Reason, Source, TaskInfo, TaskState

from .rig import KIND, PROGRAM, offer, offered, status, updated

_Effect = TypeVar("_Effect")
IDLE_MS = 1_000
MAX_AGE_MS = 100_000


@dataclass
class Rig:
    """A core that is checked after each event."""

    max_workers: int = 4
    max_age_ms: int | None = None
    life: str = "-a"
    now_ms: int = 1_000
    effects: list[CoarseEffect] = field(default_factory=list[CoarseEffect])

    def __post_init__(self) -> None:
        holding = Holding(
            max_workers=self.max_workers,
            idle_ms=IDLE_MS,
            workers_per_executor=1,
            max_age_ms=self.max_age_ms,
            drains=True,
            life=self.life,
        )
        self.core = CoarseCore(PROGRAM, KIND, holding)

    def hear(self, event: CoarseEvent) -> None:
        self.effects = self.core.apply(event)
        self.core.check()

    def hold(self, calls: int) -> list[TaskInfo]:
        """Have so many workers run."""
        self.hear(LoadChanged(now_ms=self.now_ms, kind=KIND, calls=calls))
        return self.offer()

    def offer(self) -> list[TaskInfo]:
        self.hear(offered(self.now_ms, offer(f"offer-{self.now_ms}", cpus=16, mem_mib=16_384)))
        tasks = [task for launch in self.found(LaunchSlots) for task in launch.tasks]
        for task in tasks:
            self.hear(updated(self.now_ms, status(task.task_id, TaskState.RUNNING)))
        return tasks

    def given(self, **calls: int) -> None:
        self.hear(CallsGiven(now_ms=self.now_ms, calls={ExecutorId(name): count for name, count in calls.items()}))

    def pass_time(self, milliseconds: int) -> None:
        self.now_ms += milliseconds
        self.hear(Ticked(now_ms=self.now_ms))

    def found(self, kind: type[_Effect]) -> list[_Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]


def executor_of(task: TaskInfo) -> ExecutorId:
    assert task.executor is not None
    return task.executor.executor_id


def test_each_worker_gets_an_executor_even_on_one_agent_and_that_is_asked_for() -> None:
    rig = Rig()
    rig.hear(LoadChanged(now_ms=rig.now_ms, kind=KIND, calls=3))
    [stated] = rig.found(StateDemand)
    assert [demand.count for demand in stated.demands] == [3]
    assert len({executor_of(task) for task in rig.offer()}) == 3


def test_the_executor_without_calls_is_drained_and_shut_down_and_no_slot_is_killed() -> None:
    rig = Rig()
    first, second = rig.hold(2)
    rig.hear(LoadChanged(now_ms=rig.now_ms, kind=KIND, calls=1))
    rig.hear(CallsGiven(now_ms=rig.now_ms, calls={executor_of(first): 1}))
    rig.pass_time(IDLE_MS)
    assert [effect.executor_id for effect in rig.found(DrainExecutor)] == [executor_of(second)]
    assert rig.found(KillTask) == []
    rig.hear(CallsGiven(now_ms=rig.now_ms, calls={executor_of(first): 1}))
    assert [effect.executor_id for effect in rig.found(ShutdownExecutor)] == [executor_of(second)]


def test_a_drained_executor_stays_for_as_long_as_it_has_calls() -> None:
    rig = Rig()
    [task] = rig.hold(1)
    rig.hear(LoadChanged(now_ms=rig.now_ms, kind=KIND, calls=0))
    rig.pass_time(IDLE_MS)
    for _ in range(3):
        rig.now_ms += 60_000
        rig.hear(CallsGiven(now_ms=rig.now_ms, calls={executor_of(task): 1}))
        assert rig.found(ShutdownExecutor) == []
    rig.given()
    assert [effect.executor_id for effect in rig.found(ShutdownExecutor)] == [executor_of(task)]


def test_an_old_executor_works_until_another_runs_and_then_is_drained() -> None:
    rig = Rig(max_workers=1, max_age_ms=MAX_AGE_MS)
    [old] = rig.hold(1)
    rig.pass_time(MAX_AGE_MS)
    assert rig.found(DrainExecutor) == []
    [new] = rig.offer()
    assert executor_of(new) != executor_of(old)
    rig.pass_time(1_000)
    assert [effect.executor_id for effect in rig.found(DrainExecutor)] == [executor_of(old)]


def test_where_there_is_no_room_for_two_an_old_executor_makes_room() -> None:
    rig = Rig(max_workers=1, max_age_ms=MAX_AGE_MS)
    [old] = rig.hold(1)
    rig.pass_time(MAX_AGE_MS)
    rig.pass_time(REPLACE_PATIENCE_MS)
    assert [effect.executor_id for effect in rig.found(DrainExecutor)] == [executor_of(old)]


def test_executors_give_way_one_at_a_time() -> None:
    rig = Rig(max_workers=3, max_age_ms=MAX_AGE_MS)
    assert len(rig.hold(3)) == 3
    rig.pass_time(MAX_AGE_MS)
    assert len(rig.offer()) == 1


def test_an_executor_is_kept_before_its_worker_is_launched_and_reads_back_as_it_was() -> None:
    rig = Rig()
    rig.hear(LoadChanged(now_ms=rig.now_ms, kind=KIND, calls=1))
    rig.hear(offered(rig.now_ms, offer()))
    kinds = [type(effect) for effect in rig.effects]
    assert kinds.index(KeepExecutor) < kinds.index(LaunchSlots)
    [kept] = rig.found(KeepExecutor)
    assert decode_record(kept.record.encode()) == kept.record


def kept_by_another_life() -> tuple[HeldRecord, TaskInfo]:
    before = Rig(life="-old")
    before.hear(LoadChanged(now_ms=before.now_ms, kind=KIND, calls=1))
    before.hear(offered(before.now_ms, offer()))
    [launch] = before.found(LaunchSlots)
    [kept] = before.found(KeepExecutor)
    return kept.record, launch.tasks[0]


def test_the_next_life_holds_an_executor_further_and_launches_no_other_in_its_place() -> None:
    record, task = kept_by_another_life()
    rig = Rig()
    rig.hear(Adopted(now_ms=rig.now_ms, records=(record,)))
    rig.hear(updated(rig.now_ms, status(task.task_id, TaskState.RUNNING)))
    assert rig.found(KillTask) == []
    assert rig.hold(1) == []
    [another] = rig.hold(2)
    assert another.task_id != task.task_id


def test_an_executor_that_ended_between_two_lives_is_over() -> None:
    record, task = kept_by_another_life()
    rig = Rig()
    rig.hear(Adopted(now_ms=rig.now_ms, records=(record,)))
    rig.hear(updated(rig.now_ms, status(task.task_id, TaskState.GONE, source=Source.MASTER)))
    assert [effect.executor_id for effect in rig.found(ExecutorOver)] == [record.info.executor_id]


def test_an_executor_whose_launch_was_written_and_never_sent_is_over() -> None:
    record, task = kept_by_another_life()
    rig = Rig()
    rig.hear(Adopted(now_ms=rig.now_ms, records=(record,)))
    dropped = status(task.task_id, TaskState.DROPPED, source=Source.MASTER, reason=Reason.RECONCILIATION)
    rig.hear(updated(rig.now_ms, dropped))
    assert [effect.executor_id for effect in rig.found(ExecutorOver)] == [record.info.executor_id]


def test_what_an_earlier_life_held_and_nobody_needs_is_given_back() -> None:
    record, task = kept_by_another_life()
    rig = Rig()
    rig.hear(Adopted(now_ms=rig.now_ms, records=(record,)))
    rig.hear(updated(rig.now_ms, status(task.task_id, TaskState.RUNNING)))
    rig.pass_time(IDLE_MS)
    assert [effect.executor_id for effect in rig.found(DrainExecutor)] == [record.info.executor_id]


def shut_down_by_another_life() -> HeldRecord:
    before = Rig(life="-old")
    [task] = before.hold(1)
    before.hear(LoadChanged(now_ms=before.now_ms, kind=KIND, calls=0))
    before.pass_time(IDLE_MS)
    before.given()
    before.hear(updated(before.now_ms, status(task.task_id, TaskState.KILLED)))
    [kept] = before.found(KeepExecutor)
    return kept.record


def test_the_next_life_asks_an_executor_to_end_again_that_was_asked_before_until_it_hears_that_it_is_over() -> None:
    record = shut_down_by_another_life()
    assert (record.leaving, record.tasks) == (True, ())
    rig = Rig()
    rig.hear(Adopted(now_ms=rig.now_ms, records=(record,)))
    for _ in range(3):
        assert [effect.executor_id for effect in rig.found(ShutdownExecutor)] == [record.info.executor_id]
        deadline_ms = rig.core.next_deadline_ms()
        assert deadline_ms is not None
        rig.pass_time(deadline_ms - rig.now_ms)
    rig.hear(ended(rig, record))
    assert [effect.executor_id for effect in rig.found(ExecutorOver)] == [record.info.executor_id]
    rig.pass_time(SHUTDOWN_AGAIN_MS)
    assert rig.found(ShutdownExecutor) == []


def test_an_executor_without_workers_whose_end_was_said_to_nobody_is_asked_to_end_until_it_is_over() -> None:
    record = msgspec.structs.replace(shut_down_by_another_life(), leaving=False)
    rig = Rig()
    rig.hear(Adopted(now_ms=rig.now_ms, records=(record,)))
    rig.pass_time(EXECUTOR_IDLE_MS)
    assert rig.found(ShutdownExecutor) == [], "it may have a call all the same"
    rig.hear(CallsGiven(now_ms=rig.now_ms, calls={}))
    assert len(rig.found(ShutdownExecutor)) == 1
    rig.pass_time(SHUTDOWN_AGAIN_MS)
    assert len(rig.found(ShutdownExecutor)) == 1


@pytest.mark.parametrize("confirmed", [True, False])
def test_an_executor_that_says_nothing_is_shut_down_and_over_when_that_is_confirmed_or_never_is(
    confirmed: bool,
) -> None:
    record, task = kept_by_another_life()
    rig = Rig()
    rig.hear(Adopted(now_ms=rig.now_ms, records=(record,)))
    rig.hear(updated(rig.now_ms, status(task.task_id, TaskState.RUNNING)))
    for _ in range(2):
        rig.hear(Silent(now_ms=rig.now_ms, executor_ids=(record.info.executor_id, ExecutorId("unknown"))))
    assert rig.found(ExecutorOver) == []
    if confirmed:
        rig.hear(ended(rig, record))
    else:
        rig.pass_time(SILENT_OVER_MS - 1)
        assert len(rig.found(ShutdownExecutor)) == 1
        assert rig.found(ExecutorOver) == []
        rig.pass_time(1)
    assert [effect.executor_id for effect in rig.found(ExecutorOver)] == [record.info.executor_id]


def test_an_executor_whose_image_is_still_fetched_is_not_taken_for_silent() -> None:
    record, task = kept_by_another_life()
    rig = Rig()
    rig.hear(Adopted(now_ms=rig.now_ms, records=(record,)))
    rig.hear(updated(rig.now_ms, status(task.task_id, TaskState.STAGING, source=Source.MASTER)))
    rig.hear(Silent(now_ms=rig.now_ms, executor_ids=(record.info.executor_id,)))
    assert rig.found(ShutdownExecutor) == []
    rig.hear(updated(rig.now_ms, status(task.task_id, TaskState.RUNNING)))
    rig.hear(Silent(now_ms=rig.now_ms, executor_ids=(record.info.executor_id,)))
    assert len(rig.found(ShutdownExecutor)) == 1


def ended(rig: Rig, record: HeldRecord) -> ExecutorEnded:
    return ExecutorEnded(
        now_ms=rig.now_ms, agent_id=record.agent_id, executor_id=record.info.executor_id, exit_code=None, message=""
    )
