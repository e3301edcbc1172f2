"""Agents that are away: removed at a limited pace, declared gone, left, and forgotten in the end."""

import pytest

from mesolite.ids import AgentId, FrameworkId, TaskId
from mesolite.master import MasterSettings
from mesolite.master.events import OperatorMarkedGone
from mesolite.master.removal import RemovalLimit
from mesolite.master.settings import MAX_ABSENT_AGE_MS, PRUNE_INTERVAL_MS
from mesolite.master.state import Absence
from mesolite.protocol import (
    AgentHeartbeat,
    Failure,
    Kill,
    Reason,
    Reconcile,
    ReconcileTask,
    RunTask,
    ShutdownAgent,
    TaskState,
    UnregisterAgent,
    Update,
)

from .world import World, listed, running_task, task

#: An agent is lost after ten seconds, at most two of them in a minute.
SLOWLY = MasterSettings(
    heartbeat_interval_ms=1000, agent_timeout_ms=10_000, agent_removal_limit=2, agent_removal_interval_ms=60_000
)
A1 = AgentId("a1")


def mark_gone(world: World, agent: str = "a1") -> None:
    world.apply(OperatorMarkedGone(now_ms=world.now_ms, agent_id=AgentId(agent)))
    world.tick()


def ask(world: World, task_id: str, agent: str | None = "a1") -> list[TaskState]:
    """What the master answers about a task."""
    world.clear()
    world.call("f", Reconcile((ReconcileTask(TaskId(task_id), AgentId(agent) if agent else None),)))
    return world.states("f", task_id)


# -- the limit


def test_a_bucket_gives_what_it_holds_and_fills_up_slowly() -> None:
    limit = RemovalLimit(3, 60_000)
    assert [limit.take(2, 0), limit.take(2, 0), limit.take(1, 19_999)] == [2, 1, 0]
    assert limit.take(5, 20_000) == 1
    assert limit.take(5, 1_000_000) == 3, "no more than it holds"


def test_of_many_silent_agents_a_few_are_lost_at_once_the_longest_silent_first() -> None:
    world = World(settings=SLOWLY)
    for agent in ("a3", "a1", "a2"):
        world.register(agent)
        world.now_ms += 100
    world.pass_time(12_000)
    assert sorted(world.core.state.lost_agents) == ["a1", "a3"]
    assert not world.core.state.agents[AgentId("a2")].active, "it is offered to nobody meanwhile"
    world.pass_time(30_000)
    assert sorted(world.core.state.lost_agents) == ["a1", "a2", "a3"]


def test_an_agent_that_speaks_while_it_waits_to_be_removed_stays() -> None:
    world = World(settings=SLOWLY)
    for agent in ("a1", "a2", "a3"):
        world.register(agent)
        world.now_ms += 100
    world.pass_time(12_000)
    world.report("a3", AgentHeartbeat())
    world.pass_time(60_000, agents=("a3",))
    assert sorted(world.core.state.lost_agents) == ["a1", "a2"]
    assert world.core.state.agents[AgentId("a3")].active
    assert world.core.context.counts["agent_removals_cancelled"] == 1


# -- gone


def test_an_operator_declares_a_registered_agent_gone() -> None:
    world = World()
    running_task(world)
    mark_gone(world)
    assert world.states("f", "t") == [TaskState.GONE_BY_OPERATOR]
    assert world.told("f", Update)[0].status.reason is Reason.AGENT_REMOVED_BY_OPERATOR
    assert world.told("f", Failure) == [Failure(A1)]
    assert [batch.first_number for batch in world.batches["a1"]] == [0]
    assert len(world.commanded("a1", ShutdownAgent)) == 1
    assert world.core.state.agents == {}
    assert ask(world, "never-heard-of") == [TaskState.GONE_BY_OPERATOR]


def test_the_id_of_a_gone_agent_is_refused_for_ever_also_by_the_next_master() -> None:
    world = World()
    running_task(world)
    mark_gone(world)
    for master in (world, world.successor()):
        master.now_ms += MAX_ABSENT_AGE_MS + PRUNE_INTERVAL_MS
        master.tick()
        master.clear()
        master.register("a1", session="s2", life=("new disk", 1))
        assert master.core.state.agents == {}
        assert "start it with another id" in master.commanded("a1", ShutdownAgent)[0].message


def test_the_next_master_does_not_ask_a_gone_agent_back() -> None:
    world = World()
    world.register("a1")
    mark_gone(world)
    assert world.successor().commands("a1") == []


def test_a_gone_agent_that_missed_the_word_is_told_again_when_it_speaks_and_its_queue_is_deleted_when_it_stops() -> (
    None
):
    world = World()
    running_task(world)
    mark_gone(world)
    world.clear()
    world.update("a1", "f", "t", TaskState.FINISHED)
    assert len(world.commanded("a1", ShutdownAgent)) == 1
    assert world.states("f", "t") == [], "its end has been told"
    world.report("a1", UnregisterAgent())
    assert world.forgotten_queues == ["a1"]
    assert world.core.state.lost_agents[A1].absence is Absence.GONE


def test_an_operator_declares_an_unreachable_agent_gone() -> None:
    world = World(settings=SLOWLY)
    running_task(world)
    world.pass_time(12_000, frameworks=("f",))
    mark_gone(world)
    assert world.states("f", "t") == [TaskState.UNREACHABLE, TaskState.GONE_BY_OPERATOR]
    framework = world.core.state.frameworks[FrameworkId("f")]
    assert framework.unreachable == {}
    assert TaskId("t") in framework.used_ids


def test_an_operator_declares_an_agent_gone_that_is_not_back_yet() -> None:
    world = World()
    running_task(world)
    successor = world.successor()
    successor.subscribe("f")
    assert ask(successor, "t") == []
    mark_gone(successor)
    assert ask(successor, "t") == [TaskState.GONE_BY_OPERATOR]
    assert not successor.core.state.agents_recovering()


@pytest.mark.parametrize("agent", ["never-seen", "a1"])
def test_marking_an_unknown_agent_or_one_twice_changes_nothing(agent: str) -> None:
    world = World()
    world.register("a1")
    mark_gone(world)
    saved = dict(world.registry)
    world.clear()
    mark_gone(world, agent)
    assert world.registry == saved
    assert world.commands(agent) == []


# -- left, and forgotten


def test_tasks_of_an_agent_that_left_are_gone_also_for_the_next_master() -> None:
    """A word about them may have been lost; who asks again must not be told for ever that nobody knows."""
    world = World()
    running_task(world)
    world.report("a1", UnregisterAgent())
    assert ask(world, "t") == [TaskState.GONE]
    successor = world.successor()
    successor.subscribe("f")
    assert ask(successor, "t") == [TaskState.GONE]
    assert not successor.core.state.agents_recovering()


def test_agents_that_are_absent_for_weeks_are_forgotten_with_their_queues() -> None:
    world = World(settings=SLOWLY)
    world.register("left")
    world.register("lost")
    world.report("left", UnregisterAgent())
    world.pass_time(12_000)
    world.clear()
    world.forgotten_queues.clear()
    world.now_ms += MAX_ABSENT_AGE_MS - 60_000
    world.tick()
    assert len(world.core.state.lost_agents) == 2
    world.tick(PRUNE_INTERVAL_MS)
    assert world.core.state.lost_agents == {}
    assert sorted(world.forgotten_queues) == ["left", "lost"]
    assert world.registry == {}


def test_of_too_many_absent_agents_the_oldest_are_forgotten_and_gone_ones_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesolite.master.absence.MAX_ABSENT_AGENTS", 2)
    world = World()
    for agent in ("gone", "first", "second"):
        world.register(agent)
    mark_gone(world, "gone")
    world.now_ms += 1000
    for agent in ("first", "second"):
        world.report(agent, UnregisterAgent())
        world.now_ms += 1000
    world.tick(PRUNE_INTERVAL_MS)
    assert sorted(world.core.state.lost_agents) == ["gone", "second"]
    assert sorted(world.registry) == ["agent:gone", "agent:second"]


# -- kills


def test_a_scheduler_that_kills_whatever_is_unreachable_is_answered_at_a_slow_pace() -> None:
    world = World(settings=SLOWLY)
    running_task(world)
    world.pass_time(12_000, frameworks=("f",))
    world.clear()
    for _ in range(100):
        world.now_ms += 10
        world.call("f", Kill(TaskId("t")))
    assert world.states("f", "t") == [TaskState.UNREACHABLE]
    world.now_ms += 5000
    world.call("f", Kill(TaskId("t")))
    assert world.states("f", "t") == [TaskState.UNREACHABLE] * 2


def test_a_lost_agent_is_not_offered_again_before_it_registers() -> None:
    world = World(settings=SLOWLY)
    running_task(world)
    world.pass_time(12_000, frameworks=("f",))
    world.clear()
    world.report("a1", AgentHeartbeat())
    assert world.commanded("a1", RunTask) == []
    assert A1 in world.core.state.lost_agents
    world.register("a1", tasks=(listed("f", task("t")),))
    assert A1 in world.core.state.agents
