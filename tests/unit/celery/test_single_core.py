"""Runs that are tasks of their own: what becomes of them, offer by offer and word by word."""

from typing import Any, TypeVar

import pytest

from mesolite.executors.python.calls import End, Outcome
from mesolite.executors.python.settings import PythonSettings
from mesolite.executors.python.tasks import encode_outcome
from mesolite.frameworks.celery.single_core import (
    KEEP_MS,
    MAX_LAUNCHES,
    MAX_STRANGERS,
    STRANGER_MS,
    SingleCore,
    task_name,
)
from mesolite.frameworks.celery.single_events import (
    AcknowledgeUpdates,
    AskFor,
    BeginRun,
    EndRun,
    LaunchRuns,
    RunCancelled,
    RunsArrived,
    RunsAttached,
    SingleEffect,
    SingleEvent,
    SingleRun,
)
from mesolite.frameworks.celery.warm_settings import WARM_SHARE
from mesolite.frameworks.driver.scheduling import (
    DeclineOffers,
    Offered,
    ReviveOffers,
    StateDemand,
    Ticked,
    TooLarge,
    Updated,
)
from mesolite.frameworks.futures.effects import KillTask, ShutdownExecutor
from mesolite.frameworks.futures.engine_call import Lost
from mesolite.frameworks.futures.errors import CannotRun, TooLargeForCluster
from mesolite.frameworks.futures.events import ExecutorEnded, Rescinded
from mesolite.frameworks.futures.options import CallOptions
from mesolite.frameworks.futures.programs import Program, shape_with_executor
from mesolite.frameworks.futures.settings import REFUSE_MS, UNREACHABLE_MS
from mesolite.ids import AgentId, FrameworkId, OfferId, TaskId
from mesolite.protocol import Demand, Offer, Reason, Source, TaskInfo, TaskState, TaskStatus
from mesolite.resources import Resources, scalars

_Effect = TypeVar("_Effect")
KIND = CallOptions(mem_mib=100).kind
RETURNED = Outcome(End.RETURNED, b"report")
AGENT = AgentId("agent-1")


def run(name: str = "run", kind: Any = KIND) -> SingleRun:
    """A run."""
    return SingleRun(name, "proj.work", kind, b"C")


class Rig:
    """A core that is checked after each event."""

    def __init__(self) -> None:
        self.core = SingleCore(Program(name="test", settings=PythonSettings(python="")))
        self.now_ms = 1000
        self.effects: list[SingleEffect] = []

    def hear(self, event: SingleEvent) -> None:
        self.effects = self.core.apply(event)
        self.core.check()

    def submit(self, *names: str) -> None:
        self.hear(RunsArrived(now_ms=self.now_ms, runs=tuple(run(name) for name in names)))

    def attach(self, *names: str) -> None:
        self.hear(RunsAttached(now_ms=self.now_ms, runs=tuple(run(name) for name in names)))

    def cancel(self, name: str, *, kill: bool) -> None:
        self.hear(RunCancelled(now_ms=self.now_ms, name=name, kill=kill))

    def offer(self, *, cpus: float = 4, mem_mib: float = 4096, role: str = "*") -> list[TaskInfo]:
        """Offer, and return what is launched."""
        offer = Offer(
            offer_id=OfferId("offer"),
            framework_id=FrameworkId("test"),
            agent_id=AGENT,
            hostname="host-1",
            resources=scalars(cpus=cpus, mem_mib=mem_mib).allocated_to(role).to_wire(),
            allocation_role=role,
        )
        self.hear(Offered(now_ms=self.now_ms, offers=(offer,)))
        return [task for launch in self.found(LaunchRuns) for task in launch.tasks]

    def say(self, task_id: str, state: TaskState, outcome: Outcome | None = None, **more: Any) -> TaskStatus:
        """An agent says something; the master, with `source`."""
        by_master = more.get("source") is Source.MASTER
        said: dict[str, Any] = {
            "source": Source.EXECUTOR,
            "agent_id": AGENT,
            "uuid": None if by_master else f"{task_id} {state.value}".encode(),
            "data": encode_outcome(outcome) if outcome is not None else b"",
        }
        status = TaskStatus(task_id=TaskId(task_id), state=state, timestamp_ms=0, **{**said, **more})
        self.hear(Updated(now_ms=self.now_ms, statuses=(status,)))
        return status

    def answer(self, task_id: str, state: TaskState) -> None:
        """The master answers a question."""
        self.say(task_id, state, source=Source.MASTER, reason=Reason.RECONCILIATION, agent_id=None)

    def wait(self, ms: int) -> None:
        self.now_ms += ms
        self.hear(Ticked(now_ms=self.now_ms))

    def found(self, kind: type[_Effect]) -> list[_Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def ends(self) -> list[tuple[str, Any]]:
        return [(effect.name, effect.ending) for effect in self.found(EndRun)]

    @property
    def demands(self) -> list[Demand]:
        [stated] = self.found(StateDemand)
        return list(stated.demands)


def launched(*names: str) -> Rig:
    """A rig with these runs launched."""
    rig = Rig()
    rig.submit(*names)
    assert [task.task_id for task in rig.offer()] == list(names)
    return rig


# Launching


def test_each_run_gets_a_task_and_an_executor_of_its_own_with_its_own_resources() -> None:
    rig = Rig()
    rig.submit("a", "b")
    assert rig.demands == [Demand(role="*", shape=shape_with_executor(KIND, WARM_SHARE), count=2)]
    tasks = rig.offer()
    assert [(task.task_id, task.name, task.data) for task in tasks] == [
        ("a", "proj.work", b"C"),
        ("b", "proj.work", b"C"),
    ]
    executors = [task.executor for task in tasks]
    assert [executor.executor_id for executor in executors if executor is not None] == ["a", "b"]
    for task in tasks:
        assert Resources.of(task.resources).unallocated() == scalars(cpus=1, mem_mib=100)
    assert rig.demands == []


def test_what_does_not_fit_waits_and_what_nobody_wants_goes_back() -> None:
    rig = Rig()
    rig.submit("a", "b")
    assert [task.task_id for task in rig.offer(cpus=1, mem_mib=150)] == ["a"]
    assert rig.offer(cpus=1, mem_mib=120) == [], "there is no room for its executor"
    assert [effect.refuse_ms for effect in rig.found(DeclineOffers)] == [REFUSE_MS]
    rig.submit("c")
    assert rig.found(ReviveOffers), "what was refused may do for it"
    rig.cancel("b", kill=True)
    rig.cancel("c", kill=True)
    assert rig.offer() == []
    assert [effect.refuse_ms for effect in rig.found(DeclineOffers)] == [0]


def test_offers_for_another_role_are_not_used() -> None:
    rig = Rig()
    rig.submit("a")
    assert rig.offer(role="night") == []


def test_a_run_that_is_too_large_for_every_agent_says_so_at_once() -> None:
    rig = Rig()
    rig.submit("a", "b")
    demand = rig.demands[0]
    rig.hear(TooLarge(now_ms=rig.now_ms, demand=demand, largest=scalars(cpus=2, mem_mib=64).to_wire()))
    assert [name for name, _ in rig.ends] == ["a", "b"]
    for _, ending in rig.ends:
        assert isinstance(ending, TooLargeForCluster)
        assert "the largest agent has cpus:2;mem:64" in str(ending)


def test_a_launch_that_came_to_nothing_is_followed_by_another_under_another_id() -> None:
    rig = launched("a")
    for launch in range(2, MAX_LAUNCHES + 1):
        rig.say(task_name("a", launch - 1), TaskState.DROPPED, source=Source.MASTER)
        assert rig.ends == []
        assert [task.task_id for task in rig.offer()] == [f"a+{launch}"]
    rig.say(task_name("a", MAX_LAUNCHES), TaskState.DROPPED, source=Source.MASTER, message="no offer")
    [(_, ending)] = rig.ends
    assert ending == Lost("", False, f"it was launched {MAX_LAUNCHES} times in vain: no offer")


def test_an_executor_that_refuses_gives_way_to_another() -> None:
    rig = launched("a")
    rig.say("a", TaskState.DROPPED, Outcome(End.REFUSED, begun=False))
    assert [task.task_id for task in rig.offer()] == ["a+2"]


def test_a_master_that_refuses_the_first_launch_is_asked_once_more() -> None:
    rig = launched("a")
    rig.say("a", TaskState.ERROR, source=Source.MASTER, reason=Reason.TASK_INVALID, message="not enough")
    assert [task.task_id for task in rig.offer()] == ["a+2"]
    rig.say("a+2", TaskState.ERROR, source=Source.MASTER, reason=Reason.TASK_INVALID, message="a bad volume")
    [(_, ending)] = rig.ends
    assert isinstance(ending, CannotRun)
    assert "a bad volume" in str(ending)


# Ending


def test_a_run_begins_once_and_ends_as_its_executor_says() -> None:
    rig = launched("a")
    rig.say("a", TaskState.STARTING)
    assert rig.found(BeginRun) == [], "a container that starts runs nothing"
    rig.say("a", TaskState.RUNNING)
    [begun] = rig.found(BeginRun)
    assert (begun.name, begun.place.agent_id, begun.place.executor_id) == ("a", AGENT, "a")
    rig.say("a", TaskState.RUNNING)
    assert rig.found(BeginRun) == []
    rig.say("a", TaskState.FINISHED, RETURNED)
    assert rig.ends == [("a", RETURNED)]
    assert rig.found(ShutdownExecutor) == [ShutdownExecutor(agent_id=AGENT, executor_id="a")]  # type: ignore[arg-type]


def test_a_container_over_its_limit_is_known_as_one() -> None:
    rig = launched("a")
    rig.say("a", TaskState.FAILED, source=Source.AGENT, reason=Reason.CONTAINER_LIMITATION_MEMORY)
    [(_, ending)] = rig.ends
    assert ending.end is End.OUT_OF_MEMORY


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.GONE, TaskState.GONE_BY_OPERATOR])
def test_a_container_that_ended_under_it_is_a_loss(state: TaskState) -> None:
    rig = launched("a")
    rig.say("a", TaskState.RUNNING)
    rig.say("a", state, source=Source.AGENT, reason=Reason.EXECUTOR_TERMINATED, message="signal 9")
    [(_, ending)] = rig.ends
    assert isinstance(ending, Lost)
    assert (ending.begun, ending.executor_id) == (True, "a")
    assert "signal 9" in ending.reason


@pytest.mark.parametrize("reason", [Reason.CONTAINER_LAUNCH_FAILED, Reason.TASK_INVALID, Reason.TASK_UNAUTHORIZED])
def test_a_container_that_cannot_be_made_is_nobodys_loss(reason: Reason) -> None:
    rig = launched("a")
    rig.say("a", TaskState.FAILED, source=Source.AGENT, reason=reason, message="no such image")
    [(_, ending)] = rig.ends
    assert isinstance(ending, CannotRun)
    assert "no such image" in str(ending)


def test_an_agent_out_of_sight_is_waited_for_and_what_comes_back_late_is_killed() -> None:
    rig = launched("a", "b")
    rig.say("a", TaskState.UNREACHABLE, source=Source.MASTER)
    rig.say("b", TaskState.UNREACHABLE, source=Source.MASTER)
    assert rig.core.next_deadline_ms() == rig.now_ms + UNREACHABLE_MS
    rig.wait(UNREACHABLE_MS - 1)
    rig.say("a", TaskState.RUNNING)
    assert rig.ends == []
    rig.wait(1)
    [(name, ending)] = rig.ends
    assert name == "b"
    assert isinstance(ending, Lost)
    rig.say("b", TaskState.RUNNING)
    assert rig.found(KillTask) == [KillTask(task_id=TaskId("b"))]


def test_the_end_of_an_executor_ends_nothing_by_itself() -> None:
    rig = launched("a")
    rig.hear(ExecutorEnded(now_ms=1, agent_id=AGENT, executor_id=None, exit_code=None, message="gone"))
    rig.hear(Rescinded(now_ms=1, offer_ids=(OfferId("offer"),)))
    assert rig.ends == []


# Told to end


@pytest.mark.parametrize("kill", [True, False])
def test_what_waits_is_cancelled_and_did_not_begin(kill: bool) -> None:
    rig = Rig()
    rig.submit("a")
    rig.cancel("a", kill=kill)
    [(_, ending)] = rig.ends
    assert (ending.end, ending.begun) == (End.CANCELLED, False)
    assert rig.demands == []


def test_what_was_launched_can_be_killed_and_not_withdrawn() -> None:
    rig = launched("a")
    rig.cancel("a", kill=False)
    assert rig.found(KillTask) == []
    rig.cancel("a", kill=True)
    assert rig.found(KillTask) == [KillTask(task_id=TaskId("a"))]
    rig.say("a", TaskState.KILLED)
    [(_, ending)] = rig.ends
    assert (ending.end, ending.begun) == (End.CANCELLED, True)


def test_what_returned_before_it_was_killed_has_returned() -> None:
    rig = launched("a")
    rig.cancel("a", kill=True)
    rig.say("a", TaskState.FINISHED, RETURNED)
    assert rig.ends == [("a", RETURNED)]


def test_what_somebody_else_killed_was_cancelled() -> None:
    rig = launched("a")
    rig.say("a", TaskState.KILLED, source=Source.AGENT)
    [(_, ending)] = rig.ends
    assert (ending.end, ending.begun) == (End.CANCELLED, True)


def test_names_that_nobody_knows_are_ignored() -> None:
    rig = Rig()
    rig.cancel("a", kill=True)
    rig.answer("a", TaskState.GONE)
    assert rig.ends == []


# Acknowledging


def test_ends_are_acknowledged_when_what_follows_from_them_was_written() -> None:
    rig = launched("a")
    running = rig.say("a", TaskState.RUNNING)
    assert rig.found(AcknowledgeUpdates) == [AcknowledgeUpdates(statuses=(running,))]
    finished = rig.say("a", TaskState.FINISHED, RETURNED)
    assert rig.found(AcknowledgeUpdates) == []
    assert rig.core.next_deadline_ms() == rig.now_ms + KEEP_MS
    rig.wait(KEEP_MS)
    assert rig.found(AcknowledgeUpdates) == [AcknowledgeUpdates(statuses=(finished,))]
    assert rig.core.next_deadline_ms() is None


# Earlier lives


def test_a_run_of_an_earlier_life_is_asked_for_under_each_name_that_it_may_have() -> None:
    rig = Rig()
    rig.attach("a")
    assert rig.found(AskFor) == [
        AskFor(task_ids=tuple(task_name("a", launch) for launch in range(1, MAX_LAUNCHES + 1)))
    ]
    rig.answer("a", TaskState.UNKNOWN)
    rig.answer("a+2", TaskState.RUNNING)
    assert rig.ends == []
    rig.say("a+2", TaskState.FINISHED, RETURNED)
    assert rig.ends == [("a", RETURNED)]


@pytest.mark.parametrize("state", [TaskState.UNKNOWN, TaskState.GONE])
def test_a_run_that_nobody_knows_under_any_name_is_lost(state: TaskState) -> None:
    rig = Rig()
    rig.attach("a")
    for launch in range(1, MAX_LAUNCHES + 1):
        assert rig.ends == []
        rig.answer(task_name("a", launch), state)
    [(_, ending)] = rig.ends
    assert isinstance(ending, Lost)
    assert not ending.begun


def test_a_run_on_an_agent_out_of_sight_is_waited_for() -> None:
    rig = Rig()
    rig.attach("a")
    rig.answer("a", TaskState.UNREACHABLE)
    rig.wait(UNREACHABLE_MS)
    [(_, ending)] = rig.ends
    assert isinstance(ending, Lost)


def test_an_end_that_came_before_anybody_asked_is_kept_for_who_asks() -> None:
    rig = Rig()
    finished = rig.say("a", TaskState.FINISHED, RETURNED)
    assert rig.found(AcknowledgeUpdates) == []
    assert [effect.executor_id for effect in rig.found(ShutdownExecutor)] == ["a"], "it has nothing more to do"
    rig.attach("a")
    assert rig.ends == [("a", RETURNED)]
    rig.wait(KEEP_MS)
    assert rig.found(AcknowledgeUpdates) == [AcknowledgeUpdates(statuses=(finished,))]


def test_a_run_that_was_heard_to_live_before_anybody_asked_is_known() -> None:
    rig = Rig()
    rig.say("a", TaskState.RUNNING)
    rig.attach("a")
    assert [effect.name for effect in rig.found(BeginRun)] == ["a"]
    assert rig.found(AskFor) == []
    rig.cancel("a", kill=True)
    assert rig.found(KillTask) == [KillTask(task_id=TaskId("a"))]


def test_a_kill_of_a_run_that_is_being_asked_for_follows_when_it_is_found() -> None:
    rig = Rig()
    rig.attach("a")
    rig.cancel("a", kill=False)
    rig.cancel("a", kill=True)
    assert rig.found(KillTask) == []
    rig.answer("a", TaskState.RUNNING)
    assert rig.found(KillTask) == [KillTask(task_id=TaskId("a"))]


def test_ends_that_nobody_asks_for_are_forgotten_in_the_end() -> None:
    rig = Rig()
    finished = rig.say("a", TaskState.FINISHED, RETURNED)
    rig.wait(STRANGER_MS)
    assert rig.found(AcknowledgeUpdates) == [AcknowledgeUpdates(statuses=(finished,))]
    rig.attach("a")
    assert rig.found(AskFor)


def test_ends_that_nobody_asks_for_are_bounded() -> None:
    rig = Rig()
    status = rig.say("first", TaskState.FINISHED, RETURNED)
    more = tuple(
        TaskStatus(
            task_id=TaskId(f"{number}"),
            state=TaskState.FAILED,
            source=Source.AGENT,
            timestamp_ms=0,
            uuid=b"u",
            agent_id=AGENT,
        )
        for number in range(MAX_STRANGERS)
    )
    rig.hear(Updated(now_ms=rig.now_ms, statuses=more))
    assert rig.found(AcknowledgeUpdates) == [AcknowledgeUpdates(statuses=(status,))]


def test_a_launch_of_an_earlier_life_that_came_to_nothing_is_followed_by_another() -> None:
    rig = Rig()
    rig.attach("a")
    rig.say("a", TaskState.DROPPED, source=Source.AGENT, message="its offer was void")
    assert rig.demands == [], "it may have been launched again"
    for launch in range(2, MAX_LAUNCHES + 1):
        rig.answer(task_name("a", launch), TaskState.UNKNOWN)
    assert rig.ends == []
    assert [task.task_id for task in rig.offer()] == ["a+2"]


def test_a_task_of_an_earlier_life_that_comes_to_nothing_after_all_is_followed_by_another() -> None:
    rig = Rig()
    rig.attach("a")
    rig.answer("a+2", TaskState.STAGING)
    rig.say("a+2", TaskState.DROPPED, source=Source.AGENT)
    assert [task.task_id for task in rig.offer()] == ["a+3"]


@pytest.mark.parametrize("is_asked_for_first", [True, False])
def test_a_launch_that_came_to_nothing_does_not_hide_the_one_that_followed(is_asked_for_first: bool) -> None:
    rig = Rig()
    if is_asked_for_first:
        rig.attach("a")
    dropped = rig.say("a", TaskState.DROPPED, source=Source.AGENT)
    if not is_asked_for_first:
        rig.attach("a")
    finished = rig.say("a+2", TaskState.FINISHED, RETURNED)
    assert rig.ends == [("a", RETURNED)]
    rig.wait(KEEP_MS)
    assert {status for effect in rig.found(AcknowledgeUpdates) for status in effect.statuses} == {dropped, finished}


def test_ids_of_launches_in_vain_are_not_forgotten_before_their_run_has_ended() -> None:
    """Whichever of two lives hears of it: an id that was used is not used again."""
    rig = launched("a")
    rig.say("a", TaskState.DROPPED)
    rig.wait(KEEP_MS)
    assert rig.found(AcknowledgeUpdates) == []
    again = Rig()
    again.say("a+2", TaskState.DROPPED)
    again.say("a", TaskState.DROPPED)
    again.attach("a")
    for launch in range(3, MAX_LAUNCHES + 1):
        again.answer(task_name("a", launch), TaskState.UNKNOWN)
    assert [task.task_id for task in again.offer()] == ["a+3"]
