"""Which of several lives, or of several machines, is heard under one agent id."""

import pytest

from mesolite.ids import AgentId, SessionId
from mesolite.master import MasterSettings
from mesolite.master.events import ListeningResumed
from mesolite.protocol import (
    AgentHeartbeat,
    AgentInfo,
    RegisterAgent,
    Reregister,
    RunTask,
    ShutdownAgent,
    TaskState,
    UnregisterAgent,
)
from mesolite.resources import Resources

from .world import World, running_task, task

#: An agent is quiet after three seconds, and lost after ten.
QUICK = MasterSettings(heartbeat_interval_ms=1000, agent_timeout_ms=10_000)
A1 = AgentId("a1")


def session_of(world: World) -> SessionId:
    return world.core.state.agents[A1].session


def test_the_next_life_of_an_agent_is_taken_at_once() -> None:
    world = World(settings=QUICK)
    world.register("a1", session="s1", life=("disk", 1))
    world.register("a1", session="s2", life=("disk", 2))
    assert session_of(world) == "s2"


def test_a_late_registration_of_a_life_that_nobody_heard_does_not_supersede_the_living_one() -> None:
    """The first life said it before it died; it arrives behind that of the second, and no list of former lives has it."""
    world = World(settings=QUICK)
    world.register("a1", session="s2", life=("disk", 2))
    world.register("a1", "cpus:100;mem:100", session="s1", life=("disk", 1))
    world.pass_time(4000, agents=())
    assert session_of(world) == "s2"
    assert world.core.state.agents[A1].total.scalar("cpus") == 4000


def test_the_next_master_does_not_take_a_dead_life_for_the_living_one_either() -> None:
    world = World(settings=QUICK)
    world.register("a1", session="s2", life=("disk", 2))
    successor = world.successor()
    successor.register("a1", session="s1", life=("disk", 1))
    assert A1 not in successor.core.state.agents
    successor.register("a1", session="s2", life=("disk", 2))
    assert session_of(successor) == "s2"


def test_a_second_living_agent_with_the_same_id_is_told_to_shut_down_and_the_operator_reads_why() -> None:
    world = World(settings=QUICK)
    running_task(world, life=("disk", 1))
    world.register("a1", session="other", life=("other disk", 1))
    assert world.commanded("a1", ShutdownAgent) == [], "the first may be dead"
    world.now_ms += 1000
    world.report("a1", AgentHeartbeat(), session="s1", confirmed=2)
    world.register("a1", session="other", life=("other disk", 1))
    shutdown = [batch for batch in world.batches["a1"] if isinstance(batch.commands[0], ShutdownAgent)]
    assert [(batch.session, batch.first_number) for batch in shutdown] == [(SessionId("other"), 0)]
    assert "belongs to the agent at a1, which is alive" in world.set_aside[0].reason
    assert session_of(world) == "s1"
    assert world.states("f", "t") == []


def test_a_second_agent_that_goes_on_asking_is_told_so_once_a_second() -> None:
    world = World(settings=QUICK)
    world.register("a1", session="s1", life=("disk", 1))
    for _ in range(10):
        world.now_ms += 100
        world.report("a1", AgentHeartbeat(), session="s1")
        world.register("a1", session="other", life=("other disk", 1))
    assert len(world.commanded("a1", ShutdownAgent)) == 1


def test_a_machine_that_replaces_a_dead_one_is_taken_when_the_dead_one_had_time_to_speak() -> None:
    world = World(settings=QUICK)
    running_task(world, life=("disk", 1))
    world.register("a1", session="new", life=("new disk", 1))
    world.pass_time(3000, frameworks=("f",))
    assert session_of(world) == "s1"
    world.register("a1", session="new", life=("new disk", 1))
    assert session_of(world) == "new"
    assert world.states("f", "t") == [TaskState.GONE]


def test_a_disk_set_back_to_yesterday_is_taken_when_nobody_else_is_that_agent() -> None:
    world = World(settings=QUICK)
    world.register("a1", session="s9", life=("disk", 9))
    world.register("a1", session="s5", life=("disk", 5))
    world.pass_time(3000)
    world.register("a1", session="s5", life=("disk", 5))
    assert session_of(world) == "s5"


def test_a_launch_that_a_dead_machine_never_confirmed_is_not_told_to_the_one_that_replaces_it() -> None:
    """The dead one may have launched it; only its own disk knows."""
    world = World(settings=QUICK)
    world.subscribe("f")
    world.register("a1", session="s1", life=("disk", 1))
    world.launch("f", world.offer("f"), task("t"))
    world.register("a1", session="new", life=("new disk", 1))
    world.pass_time(3000, frameworks=("f",))
    world.clear()
    world.register("a1", session="new", life=("new disk", 1))
    assert session_of(world) == "new"
    assert world.commanded("a1", RunTask) == []
    assert world.states("f", "t") == [TaskState.GONE]


def test_a_former_life_that_speaks_all_the_same_is_shut_down() -> None:
    world = World(settings=QUICK)
    world.register("a1", session="s1", life=("disk", 1))
    world.register("a1", session="copy", life=("disk", 2))
    world.clear()
    world.report("a1", AgentHeartbeat(), session="s1")
    assert [batch.session for batch in world.batches["a1"]] == [SessionId("s1")]
    assert len(world.commanded("a1", ShutdownAgent)) == 1
    assert world.set_aside == [], "mostly it is the late word of a dead one"


def test_agents_that_do_not_count_their_lives_are_believed() -> None:
    world = World(settings=QUICK)
    world.register("a1", session="s1")
    world.register("a1", session="s2")
    assert session_of(world) == "s2"
    world.clear()
    world.report("a1", AgentHeartbeat(), session="s1")
    assert len(world.commanded("a1", Reregister)) == 1
    assert world.commanded("a1", ShutdownAgent) == []


def test_an_outage_in_which_nobody_was_heard_is_no_proof_that_the_holder_is_dead() -> None:
    world = World(settings=QUICK)
    world.register("a1", session="s1", life=("disk", 1))
    world.register("a1", session="other", life=("other disk", 1))
    world.now_ms += 60_000
    world.apply(ListeningResumed(now_ms=world.now_ms))
    world.clear()
    world.register("a1", session="other", life=("other disk", 1))
    assert session_of(world) == "s1"
    assert world.commanded("a1", ShutdownAgent) == [], "nor that it lives"


@pytest.mark.parametrize("life", [("disk", 1), ("disk", 0), ("", 1)])
def test_an_agent_that_left_is_not_brought_back_by_what_it_had_said_before(life: tuple[str, int]) -> None:
    world = World(settings=QUICK)
    world.register("a1", session="s1", life=life)
    world.report("a1", UnregisterAgent())
    world.clear()
    world.register("a1", session="s1", life=life)
    assert world.core.state.agents == {}
    assert world.commands("a1") == [], "nobody would read it"
    world.register("a1", session="s2", life=("new disk", 1))
    assert session_of(world) == "s2"


def test_the_id_of_an_agent_that_left_is_anybodys_that_of_a_lost_one_is_not() -> None:
    world = World(settings=QUICK)
    world.register("a1", session="s1", life=("disk", 1))
    world.register("a2", session="s1", life=("disk", 1))
    world.report("a1", UnregisterAgent())
    world.pass_time(11_000)
    for agent in ("a1", "a2"):
        info = AgentInfo(agent_id=AgentId(agent), hostname="h", resources=Resources.parse("cpus:4;mem:64").to_wire())
        world.report(agent, RegisterAgent(agent_info=info), session="s2", principal="others")
    assert sorted(world.core.state.agents) == ["a1"]
    assert "another principal" in world.set_aside[0].reason


def test_an_agent_that_comes_back_with_a_new_disk_after_being_lost_is_taken_at_once() -> None:
    world = World(settings=QUICK)
    world.register("a1", session="s1", life=("disk", 1))
    world.pass_time(11_000)
    assert A1 in world.core.state.lost_agents
    world.register("a1", session="new", life=("new disk", 1))
    assert session_of(world) == "new"


def test_during_a_rebuild_the_agent_of_the_registry_has_the_time_to_come_back_first() -> None:
    world = World(settings=QUICK)
    world.register("a1", session="s1", life=("disk", 1))
    successor = world.successor()
    successor.register("a1", session="other", life=("other disk", 1))
    successor.pass_time(2000)
    successor.register("a1", session="s1", life=("disk", 1))
    successor.now_ms += 500
    successor.report("a1", AgentHeartbeat(), session="s1")
    successor.register("a1", session="other", life=("other disk", 1))
    assert session_of(successor) == "s1"
    assert len(successor.commanded("a1", ShutdownAgent)) == 1


@pytest.mark.parametrize(
    ("life", "word"), [(("x" * 256, 1), "checkpoint_id of 256 characters"), (("disk", -1), "incarnation -1")]
)
def test_a_senseless_life_is_refused(life: tuple[str, int], word: str) -> None:
    world = World()
    world.register("a1", life=life)
    assert word in world.set_aside[0].reason
    assert world.core.state.agents == {}
