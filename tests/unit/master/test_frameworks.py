"""Frameworks: subscribe, take over, fall silent, ask about tasks, state demand."""

import pytest

from mesolite.ids import AgentId, FrameworkId, SessionId, TaskId
from mesolite.master import MasterSettings
from mesolite.protocol import (
    Demand,
    ErrorEvent,
    Heartbeat,
    HeartbeatEvent,
    Kill,
    KillTask,
    Offers,
    Reason,
    Reconcile,
    ReconcileTask,
    Resubscribe,
    SetDemand,
    Subscribed,
    TaskState,
    UnsatisfiableDemand,
    Update,
)
from mesolite.resources import Resources

from .world import World, running_task, task

QUICK = MasterSettings(heartbeat_interval_ms=1000, agent_timeout_ms=10_000)


def test_a_subscription_is_confirmed_and_registered() -> None:
    world = World()
    world.subscribe("f")
    assert len(world.told("f", Subscribed)) == 1
    assert "framework:f" in world.registry


def test_an_unknown_framework_is_asked_to_subscribe() -> None:
    world = World()
    world.call("f", Heartbeat())
    assert world.told("f", Resubscribe) == [Resubscribe()]


def test_the_newest_scheduler_wins_and_the_older_is_told() -> None:
    world = World()
    world.subscribe("f", session="s1")
    world.clear()
    world.subscribe("f", session="s2")
    assert len(world.told("f", ErrorEvent)) == 1
    assert len(world.told("f", Subscribed)) == 1
    world.clear()
    world.call("f", Heartbeat(), session="s1")
    assert "newer scheduler" in world.told("f", ErrorEvent)[0].message
    assert world.core.state.frameworks[FrameworkId("f")].session == SessionId("s2")


def test_a_silent_framework_loses_its_offers_but_not_its_tasks() -> None:
    world = World(settings=QUICK)
    running_task(world)
    for _ in range(5):
        world.tick(1000)
    framework = world.core.state.frameworks[FrameworkId("f")]
    assert not framework.active
    assert framework.offers == {}
    assert TaskId("t") in framework.tasks
    world.clear()
    world.call("f", Heartbeat())
    assert world.told("f", Resubscribe) == [Resubscribe()]
    world.subscribe("f")
    assert framework.active


@pytest.mark.parametrize(
    ("roles", "word"),
    [((), "at least one role"), (("a", "a"), "twice"), (("a b",), "role 'a b'"), (("../x",), "role '../x'")],
)
def test_a_senseless_subscription_is_an_error(roles: tuple[str, ...], word: str) -> None:
    world = World()
    world.subscribe("f", roles=roles)
    assert word in world.told("f", ErrorEvent)[0].message
    assert world.core.state.frameworks == {}


def test_a_framework_that_has_nothing_to_hear_hears_that_the_master_lives() -> None:
    world = World(settings=QUICK)
    world.subscribe("f")
    world.clear()
    world.tick(999)
    assert world.told("f", HeartbeatEvent) == []
    world.tick(1000)
    assert len(world.told("f", HeartbeatEvent)) == 1


def test_reconciliation_repeats_what_is_known() -> None:
    world = World()
    running_task(world)
    world.acknowledge("f", "a1", "t")
    world.clear()
    world.call("f", Reconcile())
    status = world.told("f", Update)[0].status
    assert (status.state, status.reason, status.uuid) == (TaskState.RUNNING, Reason.RECONCILIATION, None)


def test_reconciliation_repeats_a_last_word_as_its_agent_said_it() -> None:
    """Else a scheduler hears of one end twice: the copy, and then the agent's own, which is resent until acknowledged."""
    world = World()
    running_task(world)
    world.update("a1", "f", "t", TaskState.FINISHED, uuid=b"e" * 16)
    said = world.told("f", Update)[0].status
    world.clear()
    world.call("f", Reconcile((ReconcileTask(TaskId("t"), AgentId("a1")),)))
    assert [each.status for each in world.told("f", Update)] == [said]


@pytest.mark.parametrize("latest", [TaskState.RUNNING, TaskState.FINISHED])
def test_reconciliation_repeats_what_an_agent_waits_for_before_it_says_the_end(latest: TaskState) -> None:
    """Said to a scheduler that was killed, it would be resent after pauses that double, and the end come as late.

    Whether the task is known to have ended or not: its end is said to nobody while the word before it is waited for.
    """
    world = World()
    running_task(world)
    world.update("a1", "f", "t", TaskState.RUNNING, uuid=b"r" * 16, latest=latest)
    said = world.told("f", Update)[-1].status
    world.clear()
    world.call("f", Reconcile((ReconcileTask(TaskId("t"), AgentId("a1")),)))
    assert [(each.status, each.status.uuid) for each in world.told("f", Update)] == [(said, b"r" * 16)]


def test_an_acknowledgement_of_an_older_word_leaves_the_newest_to_be_waited_for() -> None:
    world = World()
    running_task(world)
    world.update("a1", "f", "t", TaskState.RUNNING, uuid=b"n" * 16)
    world.acknowledge("f", "a1", "t")
    world.clear()
    world.call("f", Reconcile())
    assert [each.status.uuid for each in world.told("f", Update)] == [b"n" * 16]


@pytest.mark.parametrize(
    ("agent_id", "state"),
    [("a1", TaskState.GONE), (None, TaskState.UNKNOWN), ("never-seen", TaskState.UNKNOWN)],
)
def test_reconciliation_of_an_unknown_task(agent_id: str | None, state: TaskState) -> None:
    world = World()
    running_task(world)
    asked = ReconcileTask(TaskId("other"), None if agent_id is None else AgentId(agent_id))
    world.call("f", Reconcile((asked,)))
    assert world.states("f", "other") == [state]


def test_reconciliation_is_silent_about_agents_that_may_come_back() -> None:
    world = World()
    world.register("a1")
    registry = dict(world.registry)
    successor = World(epoch=2)
    successor.core.recover(registry, successor.now_ms)
    successor.subscribe("f")
    successor.call("f", Reconcile((ReconcileTask(TaskId("t"), AgentId("a1")), ReconcileTask(TaskId("u")))))
    assert successor.told("f", Update) == []
    successor.tick(successor.settings.agent_reregister_timeout_ms)
    successor.subscribe("f")
    successor.call("f", Reconcile((ReconcileTask(TaskId("t"), AgentId("a1")),)))
    assert successor.states("f", "t") == [TaskState.UNREACHABLE]


def test_a_kill_reaches_the_agent_and_an_unknown_one_is_answered() -> None:
    world = World()
    running_task(world)
    world.call("f", Kill(TaskId("t")))
    assert [command.task_id for command in world.commanded("a1", KillTask)] == ["t"]
    world.call("f", Kill(TaskId("other"), AgentId("a1")))
    assert world.states("f", "other") == [TaskState.GONE]


def test_a_demand_that_fits_no_agent_is_said_at_once_with_the_largest() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1", "cpus:2;mem:512")
    world.register("a2", "cpus:4;mem:1024")
    demand = Demand(role="*", shape=Resources.parse("cpus:1;mem:9999").to_wire(), count=1)
    world.call("f", SetDemand((demand,)))
    said = world.told("f", UnsatisfiableDemand)
    assert len(said) == 1
    assert str(Resources.of(said[0].largest)) == "cpus:4;mem:1024"


def test_a_framework_with_demand_is_offered_what_fits_and_then_left_alone() -> None:
    world = World()
    world.subscribe("f")
    demand = Demand(role="*", shape=Resources.parse("cpus:1;mem:64").to_wire(), count=2)
    world.call("f", SetDemand((demand,)))
    world.register("a1", "cpus:4;mem:4096")
    assert str(Resources.of(world.offer("f").resources).unallocated()) == "cpus:2;mem:128"
    offer = world.offer("f")
    world.clear()
    world.launch("f", offer, task("t1"), task("t2"))
    assert world.told("f", Offers) == []


def test_a_new_scheduler_is_not_bound_by_what_its_predecessor_demanded() -> None:
    world = World()
    world.subscribe("f", session="s1")
    world.call("f", SetDemand(()))
    world.register("a1")
    assert world.told("f", Offers) == []
    world.subscribe("f", session="s2")
    assert len(world.told("f", Offers)) == 1


def test_an_update_reaches_its_framework_until_acknowledged_and_the_task_ends_with_it() -> None:
    world = World()
    running_task(world)
    world.update("a1", "f", "t", TaskState.FINISHED)
    world.update("a1", "f", "t", TaskState.FINISHED)
    assert world.states("f", "t") == [TaskState.FINISHED, TaskState.FINISHED], "the driver tells repeats by their uuid"
    framework = world.core.state.frameworks[FrameworkId("f")]
    assert TaskId("t") in framework.tasks
    world.acknowledge("f", "a1", "t")
    assert TaskId("t") not in framework.tasks
    assert [ended.info.task_id for ended in framework.completed] == ["t"]


def test_an_acknowledgement_of_an_older_update_does_not_end_the_task() -> None:
    world = World()
    running_task(world)
    world.update("a1", "f", "t", TaskState.FINISHED, uuid=b"2" * 16)
    world.acknowledge("f", "a1", "t", uuid=b"1" * 16)
    assert TaskId("t") in world.core.state.frameworks[FrameworkId("f")].tasks
