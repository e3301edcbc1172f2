"""Workers of a pool: how many are held, where, and what is known of their executors."""

from typing import TypeVar

import pytest
from msgspec.structs import replace

from mesolite.executors.python.tasks import SLOT_DATA
from mesolite.frameworks.driver.scheduling import DeclineOffers, ReviveOffers, StateDemand, Ticked, TooLarge
from mesolite.frameworks.futures.coarse import CoarseCore
from mesolite.frameworks.futures.effects import (
    AgentGone,
    CoarseEffect,
    ExecutorOver,
    ExecutorUp,
    KillTask,
    LaunchSlots,
    RefuseKind,
    ShutdownExecutor,
    WorkersChanged,
)
from mesolite.frameworks.futures.errors import CannotRun, ImageWithoutPython, TooLargeForCluster
from mesolite.frameworks.futures.events import CoarseEvent, ExecutorEnded, LoadChanged
from mesolite.frameworks.futures.holding import Holding
from mesolite.frameworks.futures.options import CallOptions, Kind
from mesolite.frameworks.futures.settings import (
    EXECUTOR_IDLE_MS,
    EXECUTOR_MEM_MIB,
    MAX_FAILED_EXECUTORS,
    UNREACHABLE_MS,
)
from mesolite.ids import AgentId
from mesolite.protocol import ContainerStatus, Reason, Source, TaskInfo, TaskState, TaskStatus
from mesolite.resources import scalars

from .rig import AGENT, KIND, PROGRAM, offer, offered, status, updated

_Effect = TypeVar("_Effect")
IDLE_MS = 5000


class Rig:
    """A core that is checked after each event."""

    def __init__(self, *, min_workers: int = 0, max_workers: int | None = None) -> None:
        self.core = CoarseCore(
            PROGRAM, KIND, Holding(min_workers=min_workers, max_workers=max_workers, idle_ms=IDLE_MS)
        )
        self.now_ms = 1000
        self.effects: list[CoarseEffect] = []

    def hear(self, event: CoarseEvent) -> list[CoarseEffect]:
        self.effects = self.core.apply(event)
        self.core.check()
        return self.effects

    def load(self, calls: int, kind: Kind = KIND) -> None:
        self.hear(LoadChanged(now_ms=self.now_ms, kind=kind, calls=calls))

    def offer(
        self, offer_id: str = "offer-1", *, cpus: float = 4, mem_mib: float = 4096, agent_id: AgentId = AGENT
    ) -> list[TaskInfo]:
        """Offer, and return what is launched."""
        self.hear(offered(self.now_ms, offer(offer_id, cpus=cpus, mem_mib=mem_mib, agent_id=agent_id)))
        return [task for launch in self.found(LaunchSlots) for task in launch.tasks]

    def run(self, *tasks: TaskInfo) -> None:
        for task in tasks:
            self.say(task, TaskState.RUNNING)

    def say(self, task: TaskInfo, state: TaskState, **more: object) -> None:
        self.hear(updated(self.now_ms, status(task.task_id, state, **more)))  # type: ignore[arg-type]

    def pass_time(self, milliseconds: int) -> None:
        self.now_ms += milliseconds
        self.hear(Ticked(now_ms=self.now_ms))

    def found(self, kind: type[_Effect]) -> list[_Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def wanted(self) -> int:
        [stated] = self.found(StateDemand)
        return sum(demand.count for demand in stated.demands)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def executor_of(task: TaskInfo) -> str:
    assert task.executor is not None
    return task.executor.executor_id


class TestGrowing:
    def test_nothing_is_held_while_nothing_is_to_be_done(self, rig: Rig) -> None:
        rig.hear(Ticked(now_ms=rig.now_ms))
        assert rig.wanted == 0

    def test_a_worker_for_each_call_is_wanted(self, rig: Rig) -> None:
        rig.load(3)
        assert rig.wanted == 3
        tasks = rig.offer(cpus=2)
        assert [task.data for task in tasks] == [SLOT_DATA] * 2
        assert rig.wanted == 1

    def test_no_more_than_allowed(self) -> None:
        rig = Rig(max_workers=2)
        rig.load(10)
        assert len(rig.offer()) == 2
        assert rig.wanted == 0

    def test_some_are_held_whatever_the_load(self) -> None:
        rig = Rig(min_workers=2)
        rig.hear(Ticked(now_ms=rig.now_ms))
        assert rig.wanted == 2
        assert len(rig.offer()) == 2
        rig.pass_time(10 * IDLE_MS)
        assert rig.found(KillTask) == []

    def test_an_executor_is_up_from_its_launch_and_shared_by_the_workers_of_its_agent(self, rig: Rig) -> None:
        rig.load(3)
        first = rig.offer("offer-1", cpus=1)
        [up] = rig.found(ExecutorUp)
        assert (up.executor_id, up.kind) == (executor_of(first[0]), KIND)
        second = rig.offer("offer-2", cpus=1, mem_mib=256)
        assert executor_of(second[0]) == up.executor_id
        assert rig.found(ExecutorUp) == []
        third = rig.offer("offer-3", cpus=1, agent_id=AgentId("agent-2"))
        assert executor_of(third[0]) != up.executor_id

    def test_an_executor_is_named_with_its_agent_and_its_workers_are_counted_as_they_run_and_end(
        self, rig: Rig
    ) -> None:
        rig.load(2)
        first, second = rig.offer()
        [up] = rig.found(ExecutorUp)
        assert up.agent_id == AGENT
        assert rig.found(WorkersChanged) == []
        rig.run(first)
        assert [each.workers for each in rig.found(WorkersChanged)] == [1]
        rig.run(first)
        assert rig.found(WorkersChanged) == [], "nothing changed"
        rig.run(second)
        assert rig.found(WorkersChanged) == [WorkersChanged(executor_id=up.executor_id, workers=2)]
        rig.say(second, TaskState.FAILED)
        assert rig.found(WorkersChanged) == [WorkersChanged(executor_id=up.executor_id, workers=1)]

    def test_workers_that_were_asked_to_end_count_no_more(self, rig: Rig) -> None:
        rig.load(1)
        rig.run(*rig.offer())
        rig.load(0)
        rig.pass_time(IDLE_MS)
        assert [each.workers for each in rig.found(WorkersChanged)] == [0]

    def test_the_end_of_an_agent_is_told_whether_it_had_executors_or_not(self, rig: Rig) -> None:
        rig.hear(
            ExecutorEnded(
                now_ms=rig.now_ms, agent_id=AGENT, executor_id=None, exit_code=None, message="it did not come back"
            )
        )
        assert rig.found(AgentGone) == [AgentGone(agent_id=AGENT, message="it did not come back")]

    def test_each_kind_has_executors_of_its_own(self, rig: Rig) -> None:
        large = CallOptions(cpus=2, mem_mib=512).kind
        rig.load(1)
        rig.load(1, large)
        tasks = rig.offer()
        assert len({executor_of(task) for task in tasks}) == 2

    def test_an_offer_without_room_for_an_executor_is_refused_until_more_is_wanted(self, rig: Rig) -> None:
        rig.load(1)
        assert rig.offer(cpus=1, mem_mib=256 + EXECUTOR_MEM_MIB - 1) == []
        [declined] = rig.found(DeclineOffers)
        assert declined.refuse_ms > 0
        rig.load(2)
        assert rig.found(ReviveOffers) != []

    def test_a_worker_that_was_dropped_is_wanted_again(self, rig: Rig) -> None:
        rig.load(1)
        [task] = rig.offer()
        rig.say(task, TaskState.DROPPED, source=Source.MASTER)
        assert rig.wanted == 1
        assert [over.executor_id for over in rig.found(ExecutorOver)] == [executor_of(task)]


class TestShrinking:
    def test_workers_that_are_too_many_for_a_while_are_given_back(self, rig: Rig) -> None:
        rig.load(3)
        rig.run(*rig.offer())
        rig.load(1)
        rig.pass_time(IDLE_MS - 1)
        assert rig.found(KillTask) == []
        rig.pass_time(1)
        assert len(rig.found(KillTask)) == 2

    def test_a_burst_in_between_keeps_what_it_needed(self, rig: Rig) -> None:
        rig.load(4)
        rig.run(*rig.offer())
        rig.load(0)
        rig.pass_time(IDLE_MS // 2)
        rig.load(3)
        rig.load(0)
        rig.pass_time(IDLE_MS // 2)
        assert len(rig.found(KillTask)) == 1
        rig.pass_time(IDLE_MS)
        assert len(rig.found(KillTask)) == 3

    def test_they_are_taken_from_the_smallest_executors(self, rig: Rig) -> None:
        rig.load(3)
        small = rig.offer("offer-1", cpus=1, agent_id=AgentId("agent-2"))
        large = rig.offer("offer-2", cpus=2)
        rig.run(*small, *large)
        rig.load(2)
        rig.pass_time(IDLE_MS)
        assert [kill.task_id for kill in rig.found(KillTask)] == [small[0].task_id]

    def test_an_executor_without_workers_is_shut_down(self, rig: Rig) -> None:
        rig.load(1)
        [task] = rig.offer()
        rig.run(task)
        rig.load(0)
        rig.pass_time(IDLE_MS)
        rig.say(task, TaskState.KILLED)
        assert rig.found(ExecutorOver) == []
        rig.pass_time(EXECUTOR_IDLE_MS)
        assert [each.executor_id for each in rig.found(ShutdownExecutor)] == [executor_of(task)]
        rig.hear(_ended(rig, task))
        assert [each.executor_id for each in rig.found(ExecutorOver)] == [executor_of(task)]


class TestEnds:
    @pytest.mark.parametrize(
        ("state", "reason"),
        [
            (TaskState.FAILED, Reason.EXECUTOR_TERMINATED),
            (TaskState.FAILED, Reason.CONTAINER_LIMITATION_MEMORY),
            (TaskState.GONE, Reason.AGENT_REMOVED),
        ],
    )
    def test_an_executor_is_over_when_a_worker_ends_with_it(self, rig: Rig, state: TaskState, reason: Reason) -> None:
        rig.load(2)
        tasks = rig.offer()
        rig.run(*tasks)
        rig.say(tasks[0], state, reason=reason)
        assert [over.executor_id for over in rig.found(ExecutorOver)] == [executor_of(tasks[0])]
        assert rig.wanted == 2

    def test_it_is_said_once(self, rig: Rig) -> None:
        rig.load(2)
        tasks = rig.offer()
        rig.run(*tasks)
        rig.hear(_ended(rig, tasks[0]))
        assert len(rig.found(ExecutorOver)) == 1
        rig.say(tasks[0], TaskState.FAILED, reason=Reason.EXECUTOR_TERMINATED)
        rig.say(tasks[1], TaskState.FAILED, reason=Reason.EXECUTOR_TERMINATED)
        assert rig.found(ExecutorOver) == []

    def test_an_agent_out_of_sight_is_waited_for(self, rig: Rig) -> None:
        rig.load(1)
        [task] = rig.offer()
        rig.run(task)
        rig.say(task, TaskState.UNREACHABLE, source=Source.MASTER)
        assert rig.found(ExecutorOver) == []
        rig.pass_time(UNREACHABLE_MS)
        assert len(rig.found(ExecutorOver)) == 1
        rig.say(task, TaskState.RUNNING)
        assert [kill.task_id for kill in rig.found(KillTask)] == [task.task_id]

    @pytest.mark.parametrize("state", [TaskState.RUNNING, TaskState.FAILED])
    def test_an_executor_that_comes_back_after_it_was_given_up_is_shut_down(self, rig: Rig, state: TaskState) -> None:
        """Whether its worker runs, or ended while nobody saw it: no call is sent there any more, and nothing else ends it."""
        rig.load(1)
        [task] = rig.offer()
        rig.run(task)
        rig.say(task, TaskState.UNREACHABLE, source=Source.MASTER)
        rig.pass_time(UNREACHABLE_MS)
        rig.say(task, state, executor_id=executor_of(task))
        assert [each.executor_id for each in rig.found(ShutdownExecutor)] == [executor_of(task)]

    def test_the_last_words_of_workers_that_ended_with_their_executor_lead_to_nothing(self, rig: Rig) -> None:
        rig.load(1)
        [task] = rig.offer()
        rig.run(task)
        rig.hear(_ended(rig, task))
        rig.say(task, TaskState.FAILED, reason=Reason.EXECUTOR_TERMINATED, executor_id=executor_of(task))
        assert rig.found(ShutdownExecutor) == []

    def test_a_new_executor_has_a_new_id(self, rig: Rig) -> None:
        rig.load(1)
        [first] = rig.offer("offer-1")
        rig.run(first)
        rig.hear(_ended(rig, first))
        [second] = rig.offer("offer-2")
        assert executor_of(second) != executor_of(first)


class TestWhatNeverRuns:
    def test_executors_that_end_before_any_worker_runs_are_given_up(self, rig: Rig) -> None:
        for attempt in range(MAX_FAILED_EXECUTORS):
            rig.load(1)
            [task] = rig.offer(f"offer-{attempt}")
            rig.say(task, TaskState.FAILED, reason=Reason.EXECUTOR_TERMINATED, message="it did not like it")
        [refused] = rig.found(RefuseKind)
        assert isinstance(refused.error, CannotRun)
        assert "it did not like it" in str(refused.error)
        assert rig.wanted == 0

    def test_one_that_ran_makes_good_for_those_before(self, rig: Rig) -> None:
        for attempt in range(3 * MAX_FAILED_EXECUTORS):
            rig.load(1)
            [task] = rig.offer(f"offer-{attempt}")
            if attempt % 2:
                rig.run(task)
            rig.say(task, TaskState.FAILED, reason=Reason.EXECUTOR_TERMINATED)
            assert rig.found(RefuseKind) == []

    def test_an_image_without_python_is_given_up_at_once(self, rig: Rig) -> None:
        rig.load(1)
        [task] = rig.offer()
        failed = status(task.task_id, TaskState.FAILED, reason=Reason.EXECUTOR_TERMINATED)
        rig.hear(updated(rig.now_ms, _with_exit_code(failed, 127)))
        [refused] = rig.found(RefuseKind)
        assert isinstance(refused.error, ImageWithoutPython)

    def test_a_shape_that_fits_no_agent_is_refused(self, rig: Rig) -> None:
        rig.load(1)
        [stated] = rig.found(StateDemand)
        largest = scalars(cpus=0.5, mem_mib=64).to_wire()
        rig.hear(TooLarge(now_ms=rig.now_ms, demand=stated.demands[0], largest=largest))
        [refused] = rig.found(RefuseKind)
        assert isinstance(refused.error, TooLargeForCluster)


def _ended(rig: Rig, task: TaskInfo) -> ExecutorEnded:
    assert task.executor is not None
    return ExecutorEnded(
        now_ms=rig.now_ms, agent_id=task.agent_id, executor_id=task.executor.executor_id, exit_code=1, message="ended"
    )


def _with_exit_code(word: TaskStatus, exit_code: int) -> TaskStatus:
    return replace(word, container_status=ContainerStatus(exit_code=exit_code))
