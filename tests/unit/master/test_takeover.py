"""A new master: what it takes over, what it waits for, and what it says and does not say meanwhile."""

import pytest

from mesolite.ids import AgentId, FrameworkId, OfferId, SessionId, TaskId
from mesolite.master import MasterSettings, registry
from mesolite.master.events import ListeningResumed
from mesolite.master.settings import MAX_EPOCH_LEAD_MS, REREGISTRATIONS_PER_S
from mesolite.protocol import (
    Accept,
    Acknowledge,
    Acknowledgement,
    AgentHeartbeat,
    Demand,
    ErrorEvent,
    FrameworkInfo,
    Heartbeat,
    Kill,
    KillPolicy,
    KillTask,
    LaunchOperation,
    Offers,
    Reason,
    Reconcile,
    ReconcileTask,
    Reregister,
    Resubscribe,
    SetDemand,
    ShutdownFramework,
    TaskState,
    Teardown,
    UnsatisfiableDemand,
    Update,
)
from mesolite.resources import Resources

from .world import World, listed, running_task, task

#: A scheduler or agent is quiet after three seconds, an agent lost after ten, and given up 30 s after a change of master.
QUICK = MasterSettings(heartbeat_interval_ms=1000, agent_timeout_ms=10_000, agent_reregister_timeout_ms=30_000)
A1, F, T = AgentId("a1"), FrameworkId("f"), TaskId("t")
INFO = FrameworkInfo(framework_id=F, name="f", failover_timeout_ms=60_000)


def taken_over(settings: MasterSettings = QUICK) -> World:
    """A second master, of whose agent `a1` and framework `f` with task `t` nothing has been heard yet."""
    world = World(settings=settings)
    running_task(world)
    return world.successor()


def back(world: World, *tasks: str, state: TaskState = TaskState.RUNNING, session: str = "s1") -> None:
    """The agent returns with these."""
    entries = tuple(listed("f", task(each), state) for each in tasks)
    world.register("a1", tasks=entries, frameworks=(INFO,) if tasks else (), session=session)


def old_launch(world: World, task_id: str = "t", agent: str = "a1") -> None:
    """The ACCEPT of an earlier epoch arrives, perhaps for the second time."""
    operation = LaunchOperation((task(task_id, agent),))
    world.call("f", Accept(offer_ids=(OfferId("1-O1"),), operations=(operation,)), epoch=1)


# -- asking back


def test_a_handful_of_agents_is_asked_to_return_at_once() -> None:
    successor = taken_over()
    assert successor.commanded("a1", Reregister) == [Reregister(0)]
    assert successor.told("f", Resubscribe) == [Resubscribe()]


def test_many_agents_are_asked_to_return_over_a_time_that_their_number_sets() -> None:
    entry = registry.encode(registry.AgentEntry(hostname="h", session=SessionId("s"), principal="default"))
    world = World(epoch=2)
    world.core.recover({f"agent:a{n}": entry for n in range(REREGISTRATIONS_PER_S * 2)}, world.now_ms)
    world.tick()
    assert world.commanded("a17", Reregister) == [Reregister(2000)]
    world.clear()
    world.now_ms += 1500
    world.report("a17", AgentHeartbeat(), session="s", epoch=1)
    assert world.commanded("a17", Reregister) == [Reregister(500)], "one that speaks out of turn keeps its turn"


def test_an_agent_that_returns_as_it_was_is_not_written_down_again() -> None:
    successor = taken_over()
    saved = dict(successor.registry)
    successor.registry.clear()
    back(successor, "t")
    assert "agent:a1" in saved
    assert "agent:a1" not in successor.registry


# -- the barrier


def test_nothing_is_said_of_a_task_before_its_agent_is_back_and_then_that_it_stands() -> None:
    successor = taken_over()
    successor.subscribe("f")
    old_launch(successor)
    successor.call("f", Reconcile((ReconcileTask(T, A1), ReconcileTask(T))))
    assert successor.told("f", Update) == []
    back(successor, "t")
    old_launch(successor)
    assert successor.told("f", Update) == []
    successor.call("f", Reconcile((ReconcileTask(T, A1),)))
    assert successor.states("f", "t") == [TaskState.STAGING], "the agent has not said more of it"


def test_an_accept_of_an_earlier_epoch_is_dropped_once_the_agent_is_back_without_the_task() -> None:
    successor = taken_over()
    successor.subscribe("f")
    back(successor)
    old_launch(successor)
    assert successor.states("f", "t") == [TaskState.DROPPED]


def test_an_accept_of_an_earlier_epoch_is_not_dropped_by_an_agents_timeout_either() -> None:
    """It is UNREACHABLE: the agent may come back later still, and run it."""
    successor = taken_over()
    successor.subscribe("f")
    successor.pass_time(31_000, frameworks=("f",))
    old_launch(successor)
    assert successor.states("f", "t") == [TaskState.UNREACHABLE]
    successor.clear()
    back(successor, "t")
    assert successor.states("f", "t") == [TaskState.RUNNING]
    assert successor.told("f", Update)[0].status.reason is Reason.AGENT_REREGISTERED
    assert successor.core.state.agents[A1].used.scalar("cpus") == 1000


def test_a_launch_on_an_agent_that_nobody_knows_is_not_called_dropped_while_it_may_turn_up() -> None:
    """Redis may have forgotten that the agent was admitted, together with the launch that it has got."""
    successor = taken_over()
    successor.subscribe("f")
    old_launch(successor, "u", "forgotten")
    assert successor.states("f", "u") == [TaskState.UNKNOWN], "which is no end"


def test_an_accept_of_this_epoch_whose_offer_is_void_is_dropped_at_once() -> None:
    successor = taken_over()
    successor.subscribe("f")
    successor.call("f", Accept(offer_ids=(OfferId("2-O99"),), operations=(LaunchOperation((task("u"),)),)), epoch=2)
    assert successor.states("f", "u") == [TaskState.DROPPED]


@pytest.mark.parametrize("named", [True, False], ids=["its agent is named", "its agent is not named"])
def test_a_kill_of_a_task_that_is_not_known_yet_reaches_it_when_its_agent_returns(named: bool) -> None:
    successor = taken_over()
    successor.subscribe("f")
    policy = KillPolicy(grace_period_ms=7)
    successor.call("f", Kill(T, A1 if named else None, policy))
    assert successor.told("f", Update) == []
    back(successor, "t")
    assert successor.commanded("a1", KillTask) == [KillTask(F, T, policy)]
    assert successor.core.state.frameworks[F].wanted_kills == {}


def test_kills_that_wait_for_agents_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesolite.master.calls.MAX_WANTED_KILLS", 2)
    successor = taken_over()
    successor.subscribe("f")
    for task_id in ("x", "y", "z"):
        successor.call("f", Kill(TaskId(task_id), A1))
    assert list(successor.core.state.frameworks[F].wanted_kills) == ["y", "z"]


def test_an_acknowledgement_for_an_agent_that_is_not_back_is_dropped_since_the_agent_asks_again() -> None:
    successor = taken_over()
    successor.subscribe("f")
    successor.call("f", Acknowledge((Acknowledgement(A1, T, b"u" * 16),)))
    assert successor.core.context.counts["acknowledgements_dropped"] == 1
    back(successor, "t")
    successor.update("a1", "f", "t", TaskState.RUNNING)
    assert successor.states("f", "t") == [TaskState.RUNNING]


def test_a_framework_torn_down_while_its_agents_are_away_is_ended_on_them_and_its_tasks_are_in_use_until_then() -> None:
    successor = taken_over()
    successor.subscribe("f")
    successor.call("f", Teardown())
    assert F in successor.core.state.completed_frameworks
    successor.subscribe("g")
    back(successor, "t")
    assert [each.framework_id for each in successor.commanded("a1", ShutdownFramework)] == ["f"]
    assert successor.core.state.agents[A1].used.scalar("cpus") == 1000
    assert Resources.of(successor.told("g", Offers)[-1].offers[0].resources).scalar("cpus") == 3000
    successor.update("a1", "f", "t", TaskState.KILLED)
    assert successor.core.state.completed_frameworks[F] == "torn down by its scheduler"
    assert successor.core.state.agents[A1].used.scalar("cpus") == 0


def test_a_new_master_goes_on_ending_what_an_earlier_one_began_to_end() -> None:
    world = World(settings=QUICK)
    running_task(world)
    world.call("f", Teardown())
    successor = world.successor()
    back(successor, "t")
    assert [each.framework_id for each in successor.commanded("a1", ShutdownFramework)] == ["f"]
    assert successor.core.state.agents[A1].used.scalar("cpus") == 1000
    successor.clear()
    successor.subscribe("f")
    assert "removed" in successor.told("f", ErrorEvent)[0].message
    successor.update("a1", "f", "t", TaskState.KILLED)
    assert successor.core.state.frameworks == {}


# -- giving up


def test_agents_that_do_not_return_are_unreachable_also_for_the_master_after_next() -> None:
    successor = taken_over()
    successor.pass_time(31_000)
    third = successor.successor()
    third.subscribe("f")
    third.call("f", Reconcile((ReconcileTask(T, A1),)))
    status = third.told("f", Update)[0].status
    assert status.state is TaskState.UNREACHABLE
    assert status.unreachable_time_ms is not None
    assert status.unreachable_time_ms <= successor.now_ms


def test_agents_that_do_not_return_are_given_up_no_faster_than_the_limit_allows() -> None:
    settings = MasterSettings(agent_reregister_timeout_ms=1000, agent_removal_limit=1)
    world = World(settings=settings)
    for agent in ("a1", "a2"):
        world.register(agent)
    successor = world.successor()
    successor.pass_time(2000)
    assert len(successor.core.state.recovering) == 1
    successor.pass_time(60_000)
    assert successor.core.state.recovering == {}


def test_none_is_given_up_while_more_agents_are_missing_than_an_operator_thinks_possible() -> None:
    settings = MasterSettings(agent_reregister_timeout_ms=1000, recovery_agent_removal_limit_percent=50)
    world = World(settings=settings)
    for agent in ("a1", "a2", "a3", "a4"):
        world.register(agent)
    successor = world.successor()
    successor.register("a4")
    successor.pass_time(60_000, agents=("a4",))
    assert sorted(successor.core.state.recovering) == ["a1", "a2", "a3"]
    successor.register("a3")
    successor.pass_time(2000, agents=("a3", "a4"))
    assert successor.core.state.recovering == {}
    assert sorted(successor.core.state.agents) == ["a3", "a4"]


def test_a_demand_that_fits_no_agent_is_said_when_all_agents_are_back_or_given_up() -> None:
    successor = taken_over()
    successor.subscribe("f")
    successor.call("f", SetDemand((Demand(role="*", shape=Resources.parse("cpus:99").to_wire(), count=1),)))
    assert successor.told("f", UnsatisfiableDemand) == []
    back(successor)
    successor.pass_time(2000, frameworks=("f",), agents=("a1",))
    assert len(successor.told("f", UnsatisfiableDemand)) == 1


# -- frameworks


def ended(world: World) -> bool:
    framework = world.core.state.frameworks.get(F)
    return framework is None or framework.ending


def test_a_failover_timeout_that_a_change_of_master_interrupts_runs_on() -> None:
    world = World(settings=QUICK)
    world.subscribe("f", timeout_ms=60_000)
    world.pass_time(4000)
    silent_ms = world.core.state.frameworks[F].silent_since_ms
    assert silent_ms is not None
    world.pass_time(30_000)
    successor = world.successor()
    successor.pass_time(silent_ms + 60_000 - successor.now_ms)
    assert not ended(successor)
    successor.pass_time(1000)
    assert ended(successor)


def test_a_failover_timeout_that_ran_out_while_nobody_led_leaves_time_to_come_back() -> None:
    world = World(settings=QUICK)
    world.subscribe("f", timeout_ms=10_000)
    world.pass_time(4000)
    successor = world.successor(after_ms=60_000)
    successor.pass_time(2000)
    assert not ended(successor)
    successor.subscribe("f", timeout_ms=10_000)
    successor.pass_time(60_000, frameworks=("f",))
    assert successor.core.state.frameworks[F].active


def test_a_framework_that_was_connected_counts_its_silence_from_the_change_of_master_and_only_once() -> None:
    world = World(settings=QUICK)
    world.subscribe("f", timeout_ms=60_000)
    second = world.successor()
    began_ms = second.now_ms
    second.pass_time(30_000)
    third = second.successor()
    third.pass_time(began_ms + 60_000 - third.now_ms)
    assert not ended(third)
    third.pass_time(1000)
    assert ended(third)


def test_a_framework_without_failover_timeout_survives_a_change_of_master() -> None:
    world = World(settings=QUICK)
    world.subscribe("f", timeout_ms=0)
    successor = world.successor()
    successor.pass_time(3000)
    assert not ended(successor)
    successor.subscribe("f", timeout_ms=0)
    successor.pass_time(10_000, frameworks=("f",))
    assert not ended(successor)


def test_a_scheduler_that_returns_a_millisecond_before_its_timeout_keeps_its_tasks() -> None:
    world = World(settings=QUICK)
    running_task(world)
    world.pass_time(4000, agents=("a1",))
    silent_ms = world.core.state.frameworks[F].silent_since_ms
    assert silent_ms is not None
    world.pass_time(silent_ms + 60_000 - 1 - world.now_ms, agents=("a1",))
    world.subscribe("f")
    world.pass_time(60_000, frameworks=("f",), agents=("a1",))
    assert world.commanded("a1", ShutdownFramework) == []
    assert T in world.core.state.frameworks[F].tasks


def test_a_framework_whose_timeout_ran_out_has_its_tasks_killed_and_its_id_refused() -> None:
    world = World(settings=QUICK)
    running_task(world)
    world.pass_time(66_000, agents=("a1",))
    assert [each.framework_id for each in world.commanded("a1", ShutdownFramework)] == ["f"]
    world.clear()
    world.subscribe("f", session="s2")
    assert "removed" in world.told("f", ErrorEvent)[0].message


def test_an_outage_does_not_count_towards_a_failover_timeout_at_its_very_end() -> None:
    world = World(settings=QUICK)
    world.subscribe("f", timeout_ms=10_000)
    world.pass_time(4000)
    world.now_ms += 60_000
    world.apply(ListeningResumed(now_ms=world.now_ms))
    world.pass_time(2000)
    assert not ended(world)
    world.pass_time(3000)
    assert ended(world)


def test_a_scheduler_that_was_superseded_under_an_earlier_master_cannot_take_its_framework_back() -> None:
    world = World(settings=QUICK)
    world.subscribe("f", session="s1")
    world.subscribe("f", session="s2")
    successor = world.successor()
    successor.subscribe("f", session="s1")
    assert "newer scheduler" in successor.told("f", ErrorEvent)[0].message
    successor.subscribe("f", session="s2")
    assert successor.core.state.frameworks[F].active
    assert successor.core.state.frameworks[F].session == SessionId("s2")


def test_a_framework_that_only_an_agent_knows_is_given_to_the_principal_that_subscribes() -> None:
    """Redis lost everything; whoever may speak for agents is not who may speak for frameworks."""
    world = World(epoch=2)
    back(world, "t")
    framework = world.core.state.frameworks[F]
    world.call("f", Heartbeat())
    assert framework.principal == ""
    assert world.told("f", ErrorEvent) == [], "a scheduler that has not noticed anything yet must not end"
    assert world.told("f", Resubscribe) == [Resubscribe()]
    world.subscribe("f")
    assert framework.principal == "default"
    assert framework.active


# -- epochs


def test_a_master_that_hears_of_a_newer_epoch_says_so_once_in_a_batch() -> None:
    world = World(epoch=2)
    world.call("f", Heartbeat(), epoch=7)
    world.report("a1", AgentHeartbeat(), epoch=9)
    assert world.newer_epochs == [7, 9]
    world.tick()
    assert world.newer_epochs == [7, 9]


def test_its_own_epoch_and_older_ones_are_no_news() -> None:
    world = World(epoch=2)
    for epoch in (0, 1, 2):
        world.call("f", Heartbeat(), epoch=epoch)
        world.report("a1", AgentHeartbeat(), epoch=epoch)
    assert world.newer_epochs == []


def test_an_epoch_that_no_clock_can_have_reached_is_set_aside_with_all_that_came_with_it() -> None:
    world = World(epoch=2)
    latest = world.now_ms + MAX_EPOCH_LEAD_MS
    world.call("f", Heartbeat(), epoch=latest)
    assert world.newer_epochs == [latest]
    world.clear()
    world.call("f", Heartbeat(), epoch=latest + 1)
    world.report("a1", AgentHeartbeat(), epoch=1 << 62)
    assert world.newer_epochs == [latest]
    assert len(world.set_aside) == 2
    assert world.told("f", Resubscribe) == []
