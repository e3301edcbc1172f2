"""Executors on their agent: launched, subscribed, told tasks, ended; and what of each the master hears."""

import pytest
from msgspec.structs import replace

from mesolite.agent.effects import CloseLinks, Refusal
from mesolite.agent.events import ContainerizerChanged, ShutdownRequested
from mesolite.agent.executor import SLACK_CPUS_MILLI
from mesolite.agent.executor_lifecycle import ExecutorPhase
from mesolite.agent.settings import EXECUTOR_REGISTRATION_TIMEOUT_MS, ExecutorPatience
from mesolite.ids import ExecutorId, TaskId
from mesolite.protocol import (
    Command,
    ExecutorLaunch,
    ExecutorLaunchGroup,
    ExecutorShutdown,
    ExecutorSubscribed,
    Reason,
    RunTask,
    ShutdownExecutor,
    ShutdownFramework,
    TaskState,
)

from .world import FRAMEWORK, World, executor_info, group, run, said, task_info, under

S = TaskState
E = ExecutorId("e")


def last(world: World, name: str) -> tuple[TaskState, Reason | None]:
    status = world.word(name)
    return status.state, status.reason


# -- launch


def test_the_first_task_launches_the_executor_with_limits_for_both() -> None:
    world = World()
    world.command(under("t", launch=True))
    (spec,) = world.launched_executors()
    assert (spec.cpus_milli, spec.mem_mib) == (600 + SLACK_CPUS_MILLI, 96)
    assert spec.argv == ("sh", "-c", "run")
    assert spec.labels == {"mesolite.framework_id": "f", "mesolite.executor_id": "e"}
    assert str(spec.sandbox) == f"/sandboxes/f/e/{spec.container_id}"
    assert spec.environment["MESOS_EXECUTOR_ID"] == "e"
    assert spec.environment["MESOS_FRAMEWORK_ID"] == "f"
    assert spec.environment["MESOS_AGENT_ID"] == "a1"
    assert world.core.book.ledger.held["cpus"] == 600
    assert world.told() == []


def test_tasks_of_one_batch_begin_with_room_for_all_of_them() -> None:
    world = World()
    world.command(under("a", launch=True), under("b"), under("c"))
    (spec,) = world.launched_executors()
    assert spec.cpus_milli == 1600 + SLACK_CPUS_MILLI
    assert world.sizes() == []


def test_tasks_wait_until_the_executor_has_subscribed_and_are_told_in_their_order() -> None:
    world = World()
    world.command(under("a", launch=True))
    executor = world.executor()
    world.command(under("b", "c"))
    world.started(executor.container_id)
    assert world.told() == []
    world.subscribe(executor)
    first = world.told()[0]
    assert isinstance(first, ExecutorSubscribed)
    assert (first.container_id, first.cpus, first.mem_mib) == (executor.container_id, 1.6, 224)
    assert world.told_tasks() == ["a", "b", "c"]
    world.command(under("d"))
    assert world.told_tasks() == ["a", "b", "c", "d"]
    assert world.core.executors.living.keys() == {(FRAMEWORK, E)}


def test_a_task_is_told_with_what_it_is_to_do() -> None:
    world = World()
    world.subscribed("t")
    world.command(under("u", data=b"call", cpus=0.25, mem=16))
    told = world.told()[-1]
    assert isinstance(told, ExecutorLaunch)
    assert (told.task.task_id, told.task.data, told.task.resources) == ("u", b"call", {"cpus": 0.25, "mem": 16})
    assert told.task.kill_grace_ms == 3000


def test_an_executor_may_subscribe_before_its_start_is_heard_of() -> None:
    world = World()
    world.command(under("t", launch=True))
    executor = world.executor()
    world.subscribe(executor)
    world.started(executor.container_id)
    assert (executor.phase, world.told_tasks(), executor.due_ms) == (ExecutorPhase.RUNNING, ["t"], None)


def test_run_task_launches_an_executor_as_run_tasks_does() -> None:
    world = World()
    command = under("t", launch=True)
    task = replace(command.tasks[0], executor=command.executor)
    world.command(RunTask(command.framework, task, launch_executor=True))
    assert world.executor().launched_by == "t"
    world.command(RunTask(command.framework, replace(task, task_id=TaskId("u"))))
    assert set(world.executor().tasks) == {(FRAMEWORK, "t"), (FRAMEWORK, "u")}


def test_what_is_fetched_for_an_executor_shows_as_starting() -> None:
    world = World()
    world.command(under("t", launch=True))
    world.preparing(world.executor().container_id)
    assert world.states("t") == [S.STARTING]


def test_executors_of_one_id_and_two_frameworks_are_two() -> None:
    world = World()
    world.command(under("t", launch=True), under("t", launch=True, framework="g"))
    assert len(world.launched_executors()) == 2


# -- refused


def test_a_task_for_an_executor_that_is_gone_is_dropped_and_so_is_one_that_brings_it_twice() -> None:
    world = World()
    world.command(under("early"))
    assert last(world, "early") == (S.DROPPED, Reason.EXECUTOR_TERMINATED)
    assert world.exits() == [], "nothing was charged for it"
    world.subscribed("t")
    world.command(under("again", launch=True))
    assert last(world, "again") == (S.DROPPED, Reason.EXECUTOR_TERMINATED)
    assert [each.launched_by for each in world.exits()] == ["again"], "what was charged for it ends"
    assert world.told_tasks() == ["t"]


@pytest.mark.parametrize(
    ("command", "state", "reason"),
    [
        (under("t", launch=True, cpus=8), S.DROPPED, Reason.INVALID_OFFERS),
        (under("t", launch=True, cpus=3.95), S.DROPPED, Reason.INVALID_OFFERS),
        (under("t", launch=True, executor=executor_info("a/b")), S.ERROR, Reason.TASK_INVALID),
        (under("t", launch=True, executor=executor_info(cpus=-1)), S.ERROR, Reason.TASK_INVALID),
        (under("t", launch=True, executor=executor_info(grace_ms=-1)), S.ERROR, Reason.TASK_INVALID),
        (under("t", launch=True, executor=executor_info(command="")), S.ERROR, Reason.TASK_INVALID),
        (under("t", launch=True, executor=executor_info(data=b"x" * 6_000_000)), S.ERROR, Reason.TASK_INVALID),
        (under("t", launch=True, data=b"x" * 6_000_000), S.ERROR, Reason.TASK_INVALID),
        (group("t", "t", launch=True), S.ERROR, Reason.TASK_GROUP_INVALID),
        (group("t", "", launch=True), S.ERROR, Reason.TASK_GROUP_INVALID),
        (group("t", "u", launch=True, cpus=2), S.DROPPED, Reason.INVALID_OFFERS),
    ],
)
def test_where_no_executor_is_launched_its_end_is_said_as_if_it_had_been(
    command: Command, state: TaskState, reason: Reason
) -> None:
    world = World()
    world.command(command)
    assert last(world, "t") == (state, reason)
    assert (world.launched_executors(), set(world.core.book.ledger.held.values())) == ([], {0})
    assert [each.launched_by for each in world.exits()] == ["t"]
    world.acknowledge_exits()
    world.acknowledge_all("t")
    assert world.core.executors.executors == {}


def test_an_executor_of_the_same_id_and_another_description_is_an_error() -> None:
    world = World()
    world.subscribed("t")
    world.command(under("u", executor=executor_info(cpus=0.2)))
    assert last(world, "u") == (S.ERROR, Reason.TASK_INVALID)
    assert "described otherwise" in world.word("u").message


def test_a_task_with_both_a_command_and_an_executor_or_with_a_container_is_an_error() -> None:
    world = World()
    world.subscribed("t")
    world.command(RunTask(under().framework, replace(task_info("u"), executor=executor_info())))
    assert last(world, "u") == (S.ERROR, Reason.TASK_INVALID)
    assert "both" in world.word("u").message


def test_a_task_id_is_launched_once_under_executors_too() -> None:
    world = World()
    executor = world.subscribed("t")
    world.command(under("t"))
    assert world.told_tasks() == ["t"]
    world.speak(executor, said("t", S.FINISHED))
    world.acknowledge_all("t")
    world.command(under("t"))
    assert last(world, "t") == (S.ERROR, Reason.TASK_INVALID)
    assert world.told_tasks() == ["t"]


def test_executors_in_an_agent_that_can_start_nothing_take_tasks_and_none_is_launched() -> None:
    world = World()
    world.subscribed("t")
    world.apply(ContainerizerChanged(now_ms=world.now_ms, trouble="the engine is down"))
    world.command(under("u"), under("v", executor=executor_info("other"), launch=True))
    assert world.told_tasks() == ["t", "u"]
    assert last(world, "v") == (S.DROPPED, Reason.CONTAINER_LAUNCH_FAILED)


# -- groups


def test_a_group_is_told_in_one_piece() -> None:
    world = World()
    world.command(group("a", "b", launch=True))
    executor = world.executor()
    world.started(executor.container_id)
    world.subscribe(executor)
    told = world.told()[-1]
    assert isinstance(told, ExecutorLaunchGroup)
    assert [task.task_id for task in told.tasks] == ["a", "b"]


def test_a_group_that_waits_dies_with_any_of_its_tasks() -> None:
    world = World()
    world.command(group("a", "b", launch=True), under("c"))
    world.kill("b")
    assert (last(world, "a")[0], last(world, "b")[0]) == (S.KILLED, S.KILLED)
    executor = world.executor()
    world.started(executor.container_id)
    world.subscribe(executor)
    assert world.told_tasks() == ["c"]


def test_a_group_of_which_a_part_is_known_is_refused() -> None:
    world = World()
    world.subscribed("a")
    world.command(group("a", "b"))
    assert last(world, "b") == (S.ERROR, Reason.TASK_GROUP_INVALID)


# -- ends


def test_an_executor_that_does_not_subscribe_is_killed_and_its_tasks_say_why() -> None:
    world = World()
    world.command(under("t", launch=True))
    executor = world.executor()
    world.tick(10 * EXECUTOR_REGISTRATION_TIMEOUT_MS)
    assert world.kills() == [], "a pull takes what it takes"
    world.join()
    world.started(executor.container_id)
    world.tick(EXECUTOR_REGISTRATION_TIMEOUT_MS - 1)
    assert world.kills() == []
    world.tick(1)
    assert world.kills() == [(executor.container_id, 5000)]
    world.exited(executor.container_id, 143)
    assert last(world, "t") == (S.FAILED, Reason.EXECUTOR_REGISTRATION_TIMEOUT)
    assert world.core.book.ledger.held["cpus"] == 0


def test_an_operator_says_how_long_an_executor_may_take_to_subscribe() -> None:
    world = World(patience=ExecutorPatience(registration_ms=5_000))
    world.command(under("t", launch=True))
    executor = world.executor()
    world.started(executor.container_id)
    world.tick(4_999)
    assert world.kills() == []
    world.tick(1)
    assert world.kills() == [(executor.container_id, 5000)]


def test_an_executor_that_exits_takes_its_tasks_along() -> None:
    world = World()
    executor = world.subscribed("t", "u")
    world.speak(executor, said("t", S.RUNNING))
    world.kill("u")
    world.exited(executor.container_id, 1)
    assert last(world, "t") == (S.FAILED, Reason.EXECUTOR_TERMINATED)
    assert "exited with code 1" in world.word("t").message
    container = world.word("t").container_status
    assert container is not None
    assert container.exit_code == 1
    assert last(world, "u")[0] is S.KILLED
    (exit_,) = world.exits()
    assert (exit_.executor_id, exit_.container_id, exit_.launched_by, exit_.exit_code) == (
        "e",
        executor.container_id,
        "t",
        1,
    )
    assert [effect.container_ids for effect in world.done(CloseLinks)] == [(executor.container_id,)]
    assert world.core.executors.living == {}


def test_an_executor_over_its_memory_names_limit_and_peak() -> None:
    world = World()
    executor = world.subscribed("t")
    world.exited(executor.container_id, 137, oom=True)
    assert last(world, "t") == (S.FAILED, Reason.CONTAINER_LIMITATION_MEMORY)
    assert "limit of 96 MiB; its peak was 5.0 MiB" in world.word("t").message


def test_an_executor_that_cannot_be_launched_says_so() -> None:
    world = World()
    world.command(under("t", launch=True))
    world.failed(world.executor().container_id)
    assert last(world, "t") == (S.FAILED, Reason.CONTAINER_LAUNCH_FAILED)
    assert "image: no such image" in world.word("t").message
    assert "no such image" in world.exits()[0].message


def test_an_end_is_said_until_it_is_entered_and_then_forgotten_with_its_last_task() -> None:
    world = World()
    executor = world.subscribed("t")
    world.exited(executor.container_id, 0)
    world.hear_nothing_new()
    world.tick(10_000)
    assert len(world.exits()) == 2
    world.hear_nothing_new()
    world.tick(19_999)
    assert len(world.exits()) == 2
    world.tick(1)
    assert len(world.exits()) == 3
    world.acknowledge_exits()
    world.hear_nothing_new()
    world.tick(40_000)
    assert len(world.exits()) == 3
    assert len(world.core.executors.executors) == 1, "the task's record leans on it"
    world.acknowledge_all("t")
    assert world.core.executors.executors == {}
    assert world.core.book.frameworks == {}
    world.acknowledge_exits()
    assert world.refusals()[-1] is Refusal.WRONG_ACKNOWLEDGEMENT


def test_a_new_executor_of_the_same_id_may_live_while_the_end_of_the_old_one_is_said() -> None:
    world = World()
    old = world.subscribed("t")
    world.exited(old.container_id, 0)
    world.command(under("u", launch=True))
    new = world.executor()
    assert new.container_id != old.container_id
    world.acknowledge_exits()
    assert world.executor() is new
    world.exited(new.container_id, 0)
    assert {each.launched_by for each in world.exits()} == {"t", "u"}


def test_an_executor_without_tasks_stays() -> None:
    world = World()
    executor = world.subscribed("t")
    world.speak(executor, said("t", S.FINISHED))
    world.acknowledge_all("t")
    assert world.core.executors.living.keys() == {(FRAMEWORK, E)}
    assert world.core.book.frameworks.keys() == {FRAMEWORK}
    world.command(under("u"))
    assert world.told_tasks() == ["t", "u"]
    (registration,) = world.registrations()
    assert registration.executors == ()
    world.tick(700_000)
    assert [each.container_id for each in world.registrations()[-1].executors] == [executor.container_id]


# -- shutdown


def test_a_shut_down_executor_gets_its_grace_and_takes_no_more_tasks() -> None:
    world = World()
    executor = world.subscribed("t")
    world.command(ShutdownExecutor(FRAMEWORK, E))
    assert world.told()[-1] == ExecutorShutdown(5000)
    world.command(under("u"))
    assert last(world, "u") == (S.DROPPED, Reason.EXECUTOR_TERMINATED)
    world.speak(executor, said("t", S.KILLED))
    assert last(world, "t")[0] is S.KILLED
    world.tick(4999)
    assert world.kills() == []
    world.tick(1)
    assert world.kills() == [(executor.container_id, 0)]
    world.exited(executor.container_id, 137)
    assert "was shut down" in world.exits()[-1].message


def test_tasks_of_a_shut_down_executor_are_killed_by_name_those_that_waited_at_once() -> None:
    world = World()
    executor = world.subscribed("t")
    world.hang_up(executor)
    world.command(under("u"))
    world.command(ShutdownExecutor(FRAMEWORK, E))
    assert last(world, "u")[0] is S.KILLED
    world.exited(executor.container_id, 0)
    assert last(world, "t")[0] is S.KILLED


def test_an_executor_that_was_shut_down_while_it_was_away_is_told_when_it_comes() -> None:
    world = World()
    executor = world.subscribed("t")
    world.hang_up(executor)
    world.command(ShutdownExecutor(FRAMEWORK, E))
    world.now_ms += 1000
    world.subscribe(executor, tasks=["t"])
    assert world.told()[-1] == ExecutorShutdown(4000)


def test_an_executor_that_has_not_subscribed_is_killed_when_it_is_shut_down() -> None:
    world = World()
    world.command(under("t", launch=True))
    executor = world.executor()
    world.command(ShutdownExecutor(FRAMEWORK, E))
    assert world.kills() == [(executor.container_id, 5000)]
    assert last(world, "t") == (S.KILLED, Reason.TASK_KILLED_DURING_LAUNCH)
    world.started(executor.container_id)
    assert world.kills()[-1] == (executor.container_id, 0), "the kill and the start may have crossed"


def test_an_executor_that_is_launched_and_shut_down_in_one_breath_is_launched_and_killed() -> None:
    """Its launch and its end came in one batch. Without a container nothing would ever say that it is over."""
    world = World()
    world.command(under("t", launch=True), ShutdownExecutor(FRAMEWORK, E))
    (spec,) = world.launched_executors()
    assert world.kills() == [(spec.container_id, 5000)]
    assert last(world, "t") == (S.KILLED, Reason.TASK_KILLED_DURING_LAUNCH)
    world.exited(spec.container_id, None)
    assert [each.launched_by for each in world.exits()] == ["t"]
    assert world.core.book.ledger.held["cpus"] == 0


def test_a_framework_that_is_shut_down_takes_its_executors_along() -> None:
    world = World()
    executor = world.subscribed("t")
    world.command(run("with-a-command"), ShutdownFramework(FRAMEWORK))
    assert world.told()[-1] == ExecutorShutdown(5000)
    world.speak(executor, said("t", S.KILLED))
    assert last(world, "t") == (S.KILLED, Reason.FRAMEWORK_REMOVED)
    world.exited(executor.container_id, 0)
    world.exited(world.container("with-a-command"), 143)
    world.acknowledge_exits()
    world.acknowledge_all("t")
    world.acknowledge_all("with-a-command")
    assert (world.core.book.frameworks, world.core.executors.executors) == ({}, {})


def test_an_agent_leaves_when_its_last_executor_has_ended() -> None:
    world = World()
    executor = world.subscribed("t")
    world.apply(ShutdownRequested(now_ms=world.now_ms, message="enough"))
    assert world.told()[-1] == ExecutorShutdown(5000)
    assert not world.core.book.containers
    world.command(under("u"))
    assert last(world, "u") == (S.DROPPED, Reason.AGENT_REMOVED)
    effects = world.exited(executor.container_id, 0)
    assert [type(effect).__name__ for effect in effects][-1] == "StopAgent"
