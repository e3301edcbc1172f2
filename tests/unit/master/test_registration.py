"""Agents: come, come back, restart, fall silent, return, leave."""

import pytest
from msgspec.structs import replace

from mesolite.ids import AgentId, FrameworkId, SessionId, TaskId
from mesolite.master import MasterSettings
from mesolite.master.effects import TellFramework
from mesolite.master.events import CallsArrived, Tick
from mesolite.protocol import (
    AgentHeartbeat,
    AgentInfo,
    AgentStopping,
    CallBatch,
    ErrorEvent,
    Failure,
    FrameworkInfo,
    Heartbeat,
    Kill,
    KillPolicy,
    KillTask,
    Offers,
    Reason,
    Reconcile,
    ReconcileTask,
    RegisterAgent,
    Registered,
    Reregister,
    Rescind,
    RunTask,
    ShutdownFramework,
    Source,
    StatusUpdate,
    TaskState,
    TaskStatus,
    Teardown,
    UnregisterAgent,
    Update,
)
from mesolite.resources import Resources

from .world import World, listed, running_task, task

QUICK = MasterSettings(heartbeat_interval_ms=1000, agent_timeout_ms=10_000)


def test_an_agent_is_admitted_and_written_to_the_registry() -> None:
    world = World()
    world.register("a1")
    assert len(world.commanded("a1", Registered)) == 1
    assert world.batches["a1"][0].first_number == 1
    assert "agent:a1" in world.registry


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_an_agent_that_does_not_follow_this_epoch_yet_is_asked_to_register_under_it(epoch: int) -> None:
    """A command of an earlier epoch may be before it in its queue, and launch a task that its registration does not list."""
    world = World(epoch=2)
    info = AgentInfo(agent_id=AgentId("a1"), hostname="a1", resources=Resources.parse("cpus:4;mem:64").to_wire())
    world.report("a1", RegisterAgent(agent_info=info), epoch=epoch)
    assert world.core.state.agents == {}
    assert len(world.commanded("a1", Reregister)) == 1
    assert world.batches["a1"][0].epoch == 2
    world.register("a1")
    assert len(world.commanded("a1", Registered)) == 1


def test_an_unknown_agent_is_asked_for_everything_but_not_at_every_word() -> None:
    world = World()
    world.report("a1", AgentHeartbeat())
    world.report("a1", AgentHeartbeat())
    assert len(world.commanded("a1", Reregister)) == 1
    assert world.batches["a1"][0].first_number == 0, "outside the numbering"
    world.tick(1000)
    world.report("a1", AgentHeartbeat())
    assert len(world.commanded("a1", Reregister)) == 2


def test_registering_twice_changes_nothing() -> None:
    world = World()
    running_task(world)
    world.register("a1", tasks=(listed("f", task("t")),), confirmed=2)
    agent = world.core.state.agents[AgentId("a1")]
    assert agent.used.scalar("cpus") == 1000
    assert world.states("f", "t") == []


def test_a_restarted_agent_is_told_again_what_never_reached_it() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), task("t"))
    world.clear()
    world.register("a1", session="s2")
    runs = world.commanded("a1", RunTask)
    assert [run.task.task_id for run in runs] == ["t"]
    assert world.batches["a1"][0].session == SessionId("s2")
    assert world.batches["a1"][0].first_number == 1, "a new life is numbered anew"
    assert world.states("f", "t") == []


def test_a_task_that_its_restarted_agent_does_not_know_is_gone() -> None:
    world = World()
    running_task(world)
    world.register("a1", session="s2")
    assert world.states("f", "t") == [TaskState.GONE]
    assert world.core.state.agents[AgentId("a1")].used.scalar("cpus") == 0
    assert world.commanded("a1", RunTask) == []


@pytest.mark.parametrize("sent", [TaskState.RUNNING, None])
def test_a_new_master_does_not_take_a_task_for_gone_whose_end_is_still_to_be_told(sent: TaskState | None) -> None:
    """The framework asks about it between the agent's registration, which lists it as ended, and the update that says how."""
    world = World()
    world.subscribe("f")
    status = TaskStatus(task_id=TaskId("t"), state=sent, source=Source.AGENT, timestamp_ms=1) if sent else None
    ended = replace(listed("f", task("t"), TaskState.FINISHED), sent_status=status)
    world.register("a1", tasks=(ended,))
    world.call("f", Reconcile((ReconcileTask(TaskId("t"), AgentId("a1")),)))
    assert world.states("f", "t") == [sent or TaskState.STAGING]
    assert world.core.state.agents[AgentId("a1")].used.scalar("cpus") == 0
    world.update("a1", "f", "t", TaskState.FINISHED)
    world.acknowledge("f", "a1", "t")
    assert world.core.state.frameworks[FrameworkId("f")].tasks == {}


@pytest.mark.parametrize(
    ("latest", "uuid"), [(TaskState.RUNNING, None), (TaskState.FINISHED, b"u" * 16), (TaskState.FAILED, b"u" * 16)]
)
def test_a_new_master_repeats_a_word_as_it_was_where_another_follows_it(latest: TaskState, uuid: bytes | None) -> None:
    """Of what runs on, the word mostly was acknowledged: frameworks are not to acknowledge all their tasks again."""
    world = World()
    world.subscribe("f")
    said = TaskStatus(task_id=TaskId("t"), state=TaskState.RUNNING, source=Source.AGENT, timestamp_ms=1, uuid=b"u" * 16)
    world.register("a1", tasks=(replace(listed("f", task("t"), latest), sent_status=said),))
    world.call("f", Reconcile((ReconcileTask(TaskId("t"), AgentId("a1")),)))
    assert [each.status.uuid for each in world.told("f", Update)] == [uuid]


def test_a_task_is_not_taken_back_while_the_acknowledgement_of_its_end_is_on_its_way() -> None:
    """The agent registers again because it was asked twice, and lists a task that it is about to forget."""
    world = World()
    running_task(world)
    world.update("a1", "f", "t", TaskState.FINISHED, confirmed=2)
    world.acknowledge("f", "a1", "t")
    status = TaskStatus(
        task_id=TaskId("t"), state=TaskState.FINISHED, source=Source.AGENT, timestamp_ms=1, uuid=b"u" * 16
    )
    world.register("a1", tasks=(replace(listed("f", task("t"), TaskState.FINISHED), sent_status=status),), confirmed=2)
    assert world.core.state.frameworks[FrameworkId("f")].tasks == {}


def test_a_superseded_life_of_an_agent_is_not_heard() -> None:
    world = World()
    world.register("a1", session="s1")
    world.register("a1", session="s2")
    world.clear()
    world.register("a1", "cpus:100;mem:100", session="s1")
    assert world.core.state.agents[AgentId("a1")].total.scalar("cpus") == 4000


def test_a_quiet_agent_gets_no_offers_and_its_offers_are_rescinded() -> None:
    world = World(settings=QUICK)
    world.subscribe("f")
    world.register("a1")
    for _ in range(4):
        world.tick(1000)
        world.subscribe("f")
    assert len(world.told("f", Rescind)) == 1 or world.told("f", Offers)[-1].offers == ()
    assert not world.core.state.agents[AgentId("a1")].active
    world.clear()
    world.report("a1", AgentHeartbeat())
    world.tick(1000)
    assert len(world.told("f", Offers)) == 1


def test_a_silent_agents_tasks_are_unreachable_and_run_again_on_its_return() -> None:
    world = World(settings=QUICK)
    running_task(world)
    for _ in range(11):
        world.tick(1000)
        world.subscribe("f")
    assert world.states("f", "t") == [TaskState.UNREACHABLE]
    assert world.told("f", Failure) == [Failure(agent_id=AgentId("a1"))]
    assert AgentId("a1") in world.core.state.lost_agents
    world.clear()
    world.report("a1", AgentHeartbeat())
    assert len(world.commanded("a1", Reregister)) == 1
    world.register("a1", tasks=(listed("f", task("t")),))
    assert world.states("f", "t") == [TaskState.RUNNING]
    assert world.told("f", Update)[0].status.reason is Reason.AGENT_REREGISTERED
    assert world.core.state.agents[AgentId("a1")].used.scalar("cpus") == 1000


def lose(world: World, agent: str = "a1") -> None:
    """Hear nothing from an agent for longer than it may be silent."""
    for _ in range(11):
        world.tick(1000)
        world.subscribe("f")
    assert AgentId(agent) in world.core.state.lost_agents


def test_a_task_whose_agent_comes_back_without_it_is_gone() -> None:
    world = World(settings=QUICK)
    running_task(world)
    lose(world)
    world.register("a1", session="s2")
    assert world.states("f", "t") == [TaskState.UNREACHABLE, TaskState.GONE]
    assert world.core.state.frameworks[FrameworkId("f")].unreachable == {}


def test_commands_sent_before_an_agent_was_lost_keep_their_numbers_when_it_returns() -> None:
    """Its life goes on, and may find them in its queue only now: new commands under their numbers would be skipped."""
    world = World(settings=QUICK)
    world.subscribe("f")
    world.register("a1", confirmed=0)
    world.launch("f", world.offer("f"), task("t"))
    lose(world)
    world.clear()
    world.register("a1", confirmed=1)
    batch = world.batches["a1"][0]
    assert batch.first_number == 2
    assert [type(command) for command in batch.commands] == [RunTask, Registered]
    assert world.states("f", "t") == [TaskState.STAGING], "it may still be launched"
    assert world.core.state.agents[AgentId("a1")].used.scalar("cpus") == 1000
    world.clear()
    world.update("a1", "f", "t", TaskState.RUNNING, confirmed=3)
    assert world.states("f", "t") == [TaskState.RUNNING]


def test_a_launch_that_a_lost_agents_former_life_never_confirmed_is_given_up() -> None:
    world = World(settings=QUICK)
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), task("t"))
    lose(world)
    world.clear()
    world.register("a1", session="s2")
    assert world.states("f", "t") == [TaskState.GONE]
    assert world.commanded("a1", RunTask) == []


def test_a_former_life_of_a_lost_agent_is_not_heard_either() -> None:
    world = World(settings=QUICK)
    world.subscribe("f")
    world.register("a1", session="s1")
    world.register("a1", session="s2")
    lose(world)
    world.register("a1", session="s1")
    assert AgentId("a1") in world.core.state.lost_agents


def test_a_registration_that_came_twice_does_not_bring_a_lost_agent_back() -> None:
    world = World(settings=QUICK)
    world.register("a1")
    lose(world)
    info = AgentInfo(agent_id=AgentId("a1"), hostname="a1", resources=Resources.parse("cpus:4;mem:64").to_wire())
    world.report("a1", RegisterAgent(agent_info=info), number=1)
    assert AgentId("a1") in world.core.state.lost_agents


@pytest.mark.parametrize("knows", [True, False], ids=["it has the task", "it is still to launch it"])
def test_a_kill_that_an_agents_former_life_never_confirmed_is_told_to_the_next(knows: bool) -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), task("t"))
    policy = KillPolicy(grace_period_ms=7)
    world.call("f", Kill(TaskId("t"), None, policy))
    world.clear()
    world.register("a1", session="s2", tasks=(listed("f", task("t")),) if knows else ())
    assert world.commanded("a1", KillTask) == [KillTask(FrameworkId("f"), TaskId("t"), policy)]
    assert isinstance(world.commands("a1")[0], RunTask), (
        "the launch comes before it; an agent that knows the task skips it"
    )


def test_a_launch_for_a_framework_that_ended_is_not_told_to_an_agents_next_life() -> None:
    """The former life may have launched it, killed it with its framework, and forgotten even that it ever saw it."""
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), task("t"))
    world.call("f", Teardown())
    world.clear()
    world.register("a1", session="s2")
    assert world.commanded("a1", RunTask) == []
    assert FrameworkId("f") in world.core.state.completed_frameworks


def test_a_task_killed_while_unreachable_is_killed_on_its_agents_return() -> None:
    world = World(settings=QUICK)
    running_task(world)
    for _ in range(11):
        world.tick(1000)
        world.subscribe("f")

    world.call("f", Kill(TaskId("t")))
    world.register("a1", tasks=(listed("f", task("t")),))
    assert [command.task_id for command in world.commanded("a1", KillTask)] == ["t"]


def test_a_new_master_adopts_what_runs_and_arms_the_frameworks_timeout() -> None:
    world = World(epoch=2)
    info = FrameworkInfo(framework_id=FrameworkId("f"), name="f", failover_timeout_ms=30_000)
    world.register("a1", tasks=(listed("f", task("t")),), frameworks=(info,))
    framework = world.core.state.frameworks[FrameworkId("f")]
    assert not framework.active
    assert world.core.state.agents[AgentId("a1")].used.scalar("cpus") == 1000
    world.tick(31_000)
    world.tick(1000)
    assert framework.ending
    assert [command.framework_id for command in world.commanded("a1", ShutdownFramework)] == ["f"]


def test_an_agent_with_tasks_of_an_ended_framework_is_told_to_end_them() -> None:
    world = World()
    running_task(world)

    world.call("f", Teardown())
    assert len(world.commanded("a1", ShutdownFramework)) == 1
    assert FrameworkId("f") in world.core.state.frameworks, "until its tasks have really ended"
    world.update("a1", "f", "t", TaskState.KILLED)
    assert FrameworkId("f") in world.core.state.completed_frameworks
    world.clear()
    world.subscribe("f", session="s3")
    assert "removed" in world.told("f", ErrorEvent)[0].message


def test_nothing_is_offered_of_an_agent_whose_process_ends_until_it_speaks_again() -> None:
    """Before, what was launched there waited for a machine that was being scaled away, until it was UNREACHABLE."""
    world = World()
    running_task(world)
    world.report("a1", AgentStopping())
    assert not world.core.state.agents[AgentId("a1")].offers
    world.clear()
    world.tick(MasterSettings().heartbeat_interval_ms)
    assert world.told("f", Offers) == []
    assert world.states("f", "t") == [], "its tasks run on"
    world.report("a1", AgentHeartbeat())
    world.tick(0)
    assert len(world.core.state.agents[AgentId("a1")].offers) == 1


def test_an_agent_that_leaves_takes_its_tasks_along() -> None:
    world = World()
    running_task(world)
    world.report("a1", UnregisterAgent())
    assert world.states("f", "t") == [TaskState.GONE]
    assert world.core.state.agents == {}


def test_nothing_is_heard_of_an_agent_behind_its_leave() -> None:
    """Its tasks are gone by then; an update of theirs would be a second end."""
    world = World()
    running_task(world)
    status = TaskStatus(
        task_id=TaskId("t"), state=TaskState.KILLED, source=Source.AGENT, timestamp_ms=1, uuid=b"v" * 16
    )
    world.report("a1", UnregisterAgent(), StatusUpdate(FrameworkId("f"), status, TaskState.KILLED))
    assert world.states("f", "t") == [TaskState.GONE]


def test_the_end_of_a_task_that_its_leaving_agent_had_no_time_to_tell_is_told_by_the_master() -> None:
    world = World()
    running_task(world)
    world.update("a1", "f", "t", TaskState.RUNNING, latest=TaskState.FINISHED)
    world.report("a1", UnregisterAgent())
    assert world.states("f", "t") == [TaskState.RUNNING, TaskState.FINISHED]
    assert world.told("f", Update)[-1].status.source is Source.MASTER


def test_an_agent_of_another_principal_is_turned_away() -> None:
    world = World()
    world.register("a1")
    world.report("a1", UnregisterAgent(), principal="mallory")
    assert AgentId("a1") in world.core.state.agents
    assert "another principal" in world.set_aside[0].reason


def test_what_is_said_to_an_ended_framework_is_outside_the_numbering() -> None:
    """It may leave the books and come into them again within an epoch, with an agent that was away; numbers would begin again."""
    world = World()
    running_task(world)
    world.call("f", Teardown())
    batch = CallBatch(
        framework_id=FrameworkId("f"), session=SessionId("s1"), epoch=1, number=1000, calls=(Heartbeat(),)
    )
    world.core.apply(CallsArrived(now_ms=world.now_ms, principal="default", batch=batch))
    effects = world.core.apply(Tick(now_ms=world.now_ms))
    told = [effect.batch for effect in effects if isinstance(effect, TellFramework)]
    assert [(each.number, type(each.events[0])) for each in told] == [(0, ErrorEvent)]
