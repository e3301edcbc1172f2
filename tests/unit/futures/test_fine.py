"""Fine-grained calls: what becomes of them, offer by offer and word by word."""

from typing import TypeVar

import pytest

from mesolite.executors.python.calls import End, Outcome
from mesolite.frameworks.driver.scheduling import DeclineOffers, ReviveOffers, StateDemand, Ticked, TooLarge
from mesolite.frameworks.futures.effects import EndCall, FineEffect, KillTask, LaunchCalls, ShutdownExecutor
from mesolite.frameworks.futures.errors import CallLost, CannotRun, PythonMismatch, TooLargeForCluster
from mesolite.frameworks.futures.events import (
    CallKilled,
    CallsArrived,
    CallsWithdrawn,
    ExecutorEnded,
    FineCall,
    FineEvent,
    Rescinded,
)
from mesolite.frameworks.futures.fine import FineCore
from mesolite.frameworks.futures.options import CallOptions
from mesolite.frameworks.futures.settings import (
    EXECUTOR_IDLE_MS,
    EXECUTOR_MEM_MIB,
    MAX_UNSTARTED,
    SHUTDOWN_AGAIN_MS,
    UNREACHABLE_MS,
    WARM_MS,
)
from mesolite.ids import OfferId
from mesolite.protocol import Demand, Reason, Source, TaskInfo, TaskState
from mesolite.resources import Resources, scalars

from .rig import AGENT, KIND, PROGRAM, call, offer, offered, status, updated

_Effect = TypeVar("_Effect")
RETURNED = Outcome(End.RETURNED, b"value")


class Rig:
    """A core that is checked after each event."""

    def __init__(self, max_calls: int | None = None) -> None:
        self.core = FineCore(PROGRAM, max_calls=max_calls)
        self.now_ms = 1000
        self.effects: list[FineEffect] = []

    def hear(self, event: FineEvent) -> list[FineEffect]:
        self.effects = self.core.apply(event)
        self.core.check()
        return self.effects

    def submit(self, *calls: FineCall) -> None:
        self.hear(CallsArrived(now_ms=self.now_ms, calls=calls))

    def offer(self, offer_id: str = "offer-1", *, cpus: float = 4, mem_mib: float = 4096) -> list[TaskInfo]:
        """Offer, and return what is launched."""
        self.hear(offered(self.now_ms, offer(offer_id, cpus=cpus, mem_mib=mem_mib)))
        return [task for launch in self.found(LaunchCalls) for task in launch.tasks]

    def say(self, task_id: str, state: TaskState, **more: object) -> None:
        self.hear(updated(self.now_ms, status(task_id, state, **more)))  # type: ignore[arg-type]

    def found(self, kind: type[_Effect]) -> list[_Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def demands(self) -> tuple[Demand, ...]:
        [stated] = self.found(StateDemand)
        return stated.demands

    @property
    def wanted(self) -> int:
        return sum(demand.count for demand in self.demands)

    @property
    def ended(self) -> list[tuple[int, Outcome | Exception]]:
        return [(effect.number, effect.ending) for effect in self.found(EndCall)]


@pytest.fixture
def rig() -> Rig:
    return Rig()


class TestLaunching:
    def test_what_waits_is_demanded_with_room_for_an_executor(self, rig: Rig) -> None:
        rig.submit(call(1), call(2))
        larger = (Resources.of(KIND.shape) + scalars(mem_mib=EXECUTOR_MEM_MIB)).to_wire()
        # One more than wait, for the call that comes next.
        stated = rig.demands
        assert [(each.shape, each.count) for each in stated] == [(larger, 1), (KIND.shape, 2)]

    def test_an_offer_takes_as_many_calls_as_fit_and_one_executor(self, rig: Rig) -> None:
        rig.submit(call(1), call(2), call(3))
        tasks = rig.offer(cpus=2, mem_mib=1024)
        assert [task.task_id for task in tasks] == ["1-1", "2-1"]
        executors = {task.executor.executor_id for task in tasks if task.executor is not None}
        assert len(executors) == 1
        assert executors.pop().endswith(f"@{AGENT}")

    def test_the_executor_is_paid_for_once(self, rig: Rig) -> None:
        """Given an offer that holds one call and an executor, then one that holds a call alone: both are used."""
        rig.submit(call(1))
        assert rig.offer("offer-1", cpus=1, mem_mib=256 + EXECUTOR_MEM_MIB) != []
        rig.submit(call(2))
        assert [task.task_id for task in rig.offer("offer-2", cpus=1, mem_mib=256)] == ["2-1"]

    def test_an_offer_without_room_for_an_executor_is_refused_for_a_while(self, rig: Rig) -> None:
        rig.submit(call(1))
        assert rig.offer(cpus=1, mem_mib=256) == []
        [declined] = rig.found(DeclineOffers)
        assert declined.refuse_ms > 0
        rig.submit(call(2))
        assert rig.found(ReviveOffers) != []

    def test_calls_of_all_sizes_share_an_executor(self, rig: Rig) -> None:
        rig.submit(call(1), call(2, kind=CallOptions(cpus=0.5, mem_mib=64).kind))
        tasks = rig.offer()
        assert len({task.executor.executor_id for task in tasks if task.executor is not None}) == 1
        assert len(tasks) == 2

    def test_calls_in_another_image_get_another_executor(self, rig: Rig) -> None:
        rig.submit(call(1), call(2, kind=CallOptions(image="other").kind))
        tasks = rig.offer()
        assert len({task.executor.executor_id for task in tasks if task.executor is not None}) == 2

    def test_no_more_run_at_a_time_than_allowed(self) -> None:
        rig = Rig(max_calls=2)
        rig.submit(call(1), call(2), call(3))
        assert rig.wanted == 2
        assert len(rig.offer()) == 2
        assert rig.wanted == 0
        rig.say("1-1", TaskState.FINISHED, outcome=RETURNED)
        assert rig.wanted == 1

    def test_an_offer_that_came_too_early_serves_the_next_call_at_once(self, rig: Rig) -> None:
        rig.submit(call(1))
        rig.offer("offer-1")
        rig.say("1-1", TaskState.FINISHED, outcome=RETURNED)
        assert rig.wanted == 1
        assert rig.offer("offer-2", cpus=1, mem_mib=256) == []
        assert rig.found(DeclineOffers) == []
        rig.submit(call(2))
        [launched] = rig.found(LaunchCalls)
        assert launched.offer_ids == (OfferId("offer-2"),)

    def test_an_offer_is_not_kept_for_long(self, rig: Rig) -> None:
        rig.submit(call(1))
        rig.offer("offer-1")
        rig.say("1-1", TaskState.FINISHED, outcome=RETURNED)
        rig.offer("offer-2", cpus=1, mem_mib=256)
        assert rig.core.next_deadline_ms() == rig.now_ms + WARM_MS
        rig.hear(Ticked(now_ms=rig.now_ms + WARM_MS))
        [declined] = rig.found(DeclineOffers)
        assert (declined.offer_ids, rig.demands) == ((OfferId("offer-2"),), ())

    def test_an_offer_that_was_taken_back_is_not_used(self, rig: Rig) -> None:
        rig.submit(call(1))
        rig.offer("offer-1")
        rig.say("1-1", TaskState.FINISHED, outcome=RETURNED)
        rig.offer("offer-2", cpus=1, mem_mib=256)
        rig.hear(Rescinded(now_ms=rig.now_ms, offer_ids=(OfferId("offer-2"),)))
        rig.submit(call(2))
        assert rig.found(LaunchCalls) == []


class TestEnding:
    def test_a_call_ends_as_its_last_update_says(self, rig: Rig) -> None:
        rig.submit(call(1))
        rig.offer()
        rig.say("1-1", TaskState.RUNNING)
        assert rig.ended == []
        rig.say("1-1", TaskState.FINISHED, outcome=RETURNED)
        assert rig.ended == [(1, RETURNED)]
        rig.say("1-1", TaskState.FINISHED, outcome=RETURNED)
        assert rig.ended == []

    @pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.GONE, TaskState.GONE_BY_OPERATOR])
    def test_a_call_of_which_nothing_came_is_lost(self, rig: Rig, state: TaskState) -> None:
        rig.submit(call(1))
        rig.offer()
        rig.say("1-1", state, reason=Reason.EXECUTOR_TERMINATED)
        [(number, error)] = rig.ended
        assert number == 1
        assert isinstance(error, CallLost)

    def test_a_lost_call_is_tried_again_as_often_as_allowed(self, rig: Rig) -> None:
        rig.submit(call(1, retries=2))
        for attempt in (1, 2):
            assert [task.task_id for task in rig.offer(f"offer-{attempt}")] == [f"1-{attempt}"]
            rig.say(f"1-{attempt}", TaskState.FAILED, reason=Reason.EXECUTOR_TERMINATED)
            assert rig.ended == []
        rig.offer("offer-3")
        rig.say("1-3", TaskState.FAILED, outcome=Outcome(End.DIED, message="killed"))
        assert rig.ended == [(1, Outcome(End.DIED, message="killed"))]

    @pytest.mark.parametrize("end", [End.RAISED, End.TIMED_OUT, End.OUT_OF_MEMORY, End.TOO_LARGE])
    def test_what_would_happen_again_is_not_tried_again(self, rig: Rig, end: End) -> None:
        rig.submit(call(1, retries=2))
        rig.offer()
        rig.say("1-1", TaskState.FAILED, outcome=Outcome(end))
        assert rig.ended == [(1, Outcome(end))]

    def test_a_call_that_did_not_begin_is_launched_again_without_counting(self, rig: Rig) -> None:
        rig.submit(call(1))
        for attempt in range(1, MAX_UNSTARTED + 1):
            assert [task.task_id for task in rig.offer(f"offer-{attempt}")] == [f"1-{attempt}"]
            rig.say(f"1-{attempt}", TaskState.DROPPED, source=Source.MASTER)
            assert rig.ended == []
        rig.offer("offer-last")
        rig.say(f"1-{MAX_UNSTARTED + 1}", TaskState.DROPPED, source=Source.MASTER)
        [(_, error)] = rig.ended
        assert isinstance(error, CallLost)
        assert "never began" in str(error)

    def test_what_an_executor_refused_goes_elsewhere(self, rig: Rig) -> None:
        rig.submit(call(1))
        rig.offer("offer-1")
        rig.say("1-1", TaskState.DROPPED, outcome=Outcome(End.REFUSED, begun=False))
        assert [task.task_id for task in rig.offer("offer-2")] == ["1-2"]

    def test_what_the_master_refuses_twice_cannot_run(self, rig: Rig) -> None:
        """Once it may be that an executor was counted on that had just ended."""
        rig.submit(call(1))
        rig.offer("offer-1")
        rig.say("1-1", TaskState.ERROR, reason=Reason.TASK_INVALID, message="not enough", source=Source.MASTER)
        assert rig.ended == []
        rig.offer("offer-2")
        rig.say("1-2", TaskState.ERROR, reason=Reason.TASK_INVALID, message="not enough", source=Source.MASTER)
        [(_, error)] = rig.ended
        assert isinstance(error, CannotRun)
        assert "not enough" in str(error)

    def test_another_version_of_python_cannot_run_it(self, rig: Rig) -> None:
        rig.submit(call(1, retries=3))
        rig.offer()
        message = "this container has Python 3.9, the functions were pickled by Python 3.11"
        rig.say("1-1", TaskState.ERROR, reason=Reason.TASK_INVALID, message=message)
        [(_, error)] = rig.ended
        assert isinstance(error, PythonMismatch)
        assert "3.9" in str(error)

    def test_a_call_out_of_sight_is_waited_for_and_then_lost(self, rig: Rig) -> None:
        rig.submit(call(1))
        rig.offer()
        rig.say("1-1", TaskState.UNREACHABLE, source=Source.MASTER)
        assert rig.ended == []
        rig.hear(Ticked(now_ms=rig.now_ms + UNREACHABLE_MS))
        [(_, error)] = rig.ended
        assert isinstance(error, CallLost)
        rig.say("1-1", TaskState.RUNNING)
        assert [kill.task_id for kill in rig.found(KillTask)] == ["1-1"]

    def test_a_call_that_comes_back_into_sight_goes_on(self, rig: Rig) -> None:
        rig.submit(call(1))
        rig.offer()
        rig.say("1-1", TaskState.UNREACHABLE, source=Source.MASTER)
        rig.say("1-1", TaskState.RUNNING)
        rig.hear(Ticked(now_ms=rig.now_ms + UNREACHABLE_MS))
        assert rig.ended == []

    def test_a_shape_that_fits_no_agent_ends_its_calls(self, rig: Rig) -> None:
        rig.submit(call(1), call(2))
        largest = scalars(cpus=1, mem_mib=64).to_wire()
        rig.hear(TooLarge(now_ms=rig.now_ms, demand=rig.demands[-1], largest=largest))
        assert [number for number, error in rig.ended if isinstance(error, TooLargeForCluster)] == [1, 2]
        assert rig.demands == ()


class TestKillingAndCancelling:
    def test_a_call_that_waits_is_killed_at_once(self, rig: Rig) -> None:
        rig.submit(call(1))
        rig.hear(CallKilled(now_ms=rig.now_ms, number=1))
        [(number, ending)] = rig.ended
        assert number == 1
        assert isinstance(ending, Outcome)
        assert ending.end is End.CANCELLED

    def test_a_call_that_runs_is_killed_by_its_task(self, rig: Rig) -> None:
        rig.submit(call(1, retries=5))
        rig.offer()
        rig.hear(CallKilled(now_ms=rig.now_ms, number=1))
        assert [kill.task_id for kill in rig.found(KillTask)] == ["1-1"]
        rig.say("1-1", TaskState.KILLED)
        [(_, ending)] = rig.ended
        assert isinstance(ending, Outcome)
        assert ending.end is End.CANCELLED

    def test_a_call_that_returned_before_the_kill_has_its_value(self, rig: Rig) -> None:
        rig.submit(call(1))
        rig.offer()
        rig.hear(CallKilled(now_ms=rig.now_ms, number=1))
        rig.say("1-1", TaskState.FINISHED, outcome=RETURNED)
        assert rig.ended == [(1, RETURNED)]

    def test_a_call_that_was_cancelled_while_it_waited_is_not_launched(self, rig: Rig) -> None:
        rig.submit(call(1), call(2))
        rig.hear(CallsWithdrawn(now_ms=rig.now_ms, numbers=(1,)))
        assert [task.task_id for task in rig.offer()] == ["2-1"]

    def test_an_executor_whose_only_call_was_cancelled_at_its_launch_does_not_count(self, rig: Rig) -> None:
        rig.submit(call(1))
        [first] = rig.offer("offer-1")
        rig.hear(CallsWithdrawn(now_ms=rig.now_ms, numbers=(1,)))
        rig.submit(call(2))
        [second] = rig.offer("offer-2")
        assert first.executor is not None
        assert second.executor is not None
        assert first.executor.executor_id != second.executor.executor_id


class TestExecutors:
    def test_an_executor_that_ended_is_not_counted_on(self, rig: Rig) -> None:
        rig.submit(call(1))
        [first] = rig.offer("offer-1")
        rig.say("1-1", TaskState.FINISHED, outcome=RETURNED)
        assert first.executor is not None
        ended = ExecutorEnded(
            now_ms=rig.now_ms, agent_id=AGENT, executor_id=first.executor.executor_id, exit_code=1, message=""
        )
        rig.hear(ended)
        rig.submit(call(2))
        [second] = rig.offer("offer-2")
        assert second.executor is not None
        assert first.executor.executor_id != second.executor.executor_id

    def test_an_executor_without_calls_is_asked_to_end_after_a_while_and_again_until_it_is_over(self, rig: Rig) -> None:
        """The first word may be lost: to an agent that is out of sight nobody passes it on."""
        rig.submit(call(1))
        [first] = rig.offer("offer-1")
        rig.say("1-1", TaskState.FINISHED, outcome=RETURNED)
        assert first.executor is not None
        executor_id = first.executor.executor_id
        asked: list[bool] = []
        for pause_ms in (EXECUTOR_IDLE_MS, SHUTDOWN_AGAIN_MS - 1, 1):
            rig.now_ms += pause_ms
            rig.hear(Ticked(now_ms=rig.now_ms))
            asked.append(
                [(each.agent_id, each.executor_id) for each in rig.found(ShutdownExecutor)] == [(AGENT, executor_id)]
            )
        assert asked == [True, False, True]
        rig.hear(ExecutorEnded(now_ms=rig.now_ms, agent_id=AGENT, executor_id=executor_id, exit_code=0, message=""))
        rig.hear(Ticked(now_ms=rig.now_ms + SHUTDOWN_AGAIN_MS))
        assert rig.found(ShutdownExecutor) == []
        assert rig.core.next_deadline_ms() is None
