"""Executors in the master's books: charged once, released once, whatever crosses with whatever (reference 2.0 I4)."""

import pytest
from msgspec.structs import replace

from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, TaskId
from mesolite.master import MasterSettings
from mesolite.protocol import (
    Accept,
    AcknowledgeExecutors,
    AgentHeartbeat,
    AgentMessage,
    ExecutorAcknowledgement,
    ExecutorExited,
    ExecutorMessage,
    Failure,
    Filters,
    FrameworkInfo,
    FrameworkMessage,
    LaunchOperation,
    Message,
    RegisteredExecutor,
    RunTask,
    RunTasks,
    Shutdown,
    ShutdownExecutor,
    ShutdownFramework,
    TaskInfo,
    TaskState,
    Teardown,
    UnregisterAgent,
)
from mesolite.protocol.executor import MAX_EXECUTOR_DATA_BYTES
from mesolite.resources import Resources

from .world import World, executor, inside, listed, task

QUICK = MasterSettings(heartbeat_interval_ms=1000, agent_timeout_ms=10_000)
A1, F, X = AgentId("a1"), FrameworkId("f"), ExecutorId("x")


def exited(
    launched_by: str, container: str = "c1", executor_id: str = "x", exit_code: int | None = 1
) -> ExecutorExited:
    return ExecutorExited(
        framework_id=F,
        executor_id=ExecutorId(executor_id),
        container_id=ContainerId(container),
        launched_by=TaskId(launched_by),
        exit_code=exit_code,
    )


def runs(launched_by: str, container: str = "c1") -> RegisteredExecutor:
    return RegisteredExecutor(
        framework_id=F, executor=executor("x"), container_id=ContainerId(container), launched_by=TaskId(launched_by)
    )


def used_cpus(world: World, agent: str = "a1") -> int:
    return world.core.state.agents[AgentId(agent)].used.scalar("cpus")


def charged(world: World, agent: str = "a1") -> list[str]:
    """By which tasks the executors were launched that the agent is charged for."""
    return [held.launched_by for held in world.core.state.agents[AgentId(agent)].executors.values()]


def one_inside(world: World) -> None:
    """One task `t1` that its agent has taken, inside an executor `x` of half a CPU."""
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), inside("t1"))
    world.update("a1", "f", "t1", TaskState.RUNNING, confirmed=2)
    world.clear()


def launch_anew(world: World, info: TaskInfo) -> None:
    """Launch on everything that the framework is offered."""
    held = tuple(world.core.state.frameworks[F].offers)
    world.call("f", Accept(held, (LaunchOperation((info,)),), Filters(refuse_ms=0)))


def test_an_executor_is_charged_with_its_first_task_and_only_once() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), inside("t1"), inside("t2"))
    assert used_cpus(world) == 500 + 2 * 1000
    world.launch("f", world.offer("f"), inside("t3"))
    assert used_cpus(world) == 500 + 3 * 1000
    sent = world.commanded("a1", RunTasks)
    assert [[each.task_id for each in run.tasks] for run in sent] == [["t1", "t2"], ["t3"]]
    assert [run.launch_executor for run in sent] == [True, False]
    assert charged(world) == ["t1"]


def test_what_tasks_share_is_said_once() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), inside("t1"), task("plain"), inside("t2"))
    sent = [command for command in world.commands("a1") if isinstance(command, RunTask | RunTasks)]
    assert [type(command).__name__ for command in sent] == ["RunTasks", "RunTask", "RunTasks"]
    assert all(each.executor is None for run in world.commanded("a1", RunTasks) for each in run.tasks)
    assert [run.launch_executor for run in world.commanded("a1", RunTasks)] == [True, False]


def test_a_launch_may_name_the_executor_of_all_its_tasks_once() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    tasks = tuple(replace(inside(name), executor=None) for name in ("t1", "t2"))
    world.call("f", Accept((world.offer("f").offer_id,), (LaunchOperation(tasks, executor("x")),)))
    assert [each.task_id for run in world.commanded("a1", RunTasks) for each in run.tasks] == ["t1", "t2"]
    assert used_cpus(world) == 2500


def test_another_agent_has_an_executor_of_its_own() -> None:
    world = World()
    world.subscribe("f")
    for name in ("a1", "a2"):
        world.register(name)
        world.launch("f", world.offer("f"), inside(f"t-{name}", agent=name))
    assert [used_cpus(world, name) for name in ("a1", "a2")] == [1500, 1500]


def test_a_task_that_is_refused_charges_no_executor() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1", "cpus:1;mem:4096")
    world.launch("f", world.offer("f"), inside("t1", resources="cpus:1;mem:64"))
    assert world.states("f", "t1") == [TaskState.ERROR], "with its executor it is larger than the offer"
    assert used_cpus(world) == 0
    assert charged(world) == []


def test_the_end_of_an_executor_gives_its_own_resources_back_and_is_told_once() -> None:
    world = World()
    one_inside(world)
    for _ in range(2):
        world.report("a1", exited("t1"))
    assert used_cpus(world) == 1000, "its task is still to be spoken of"
    assert world.told("f", Failure) == [Failure(A1, X, 1, ContainerId("c1"))]
    told = [each for command in world.commanded("a1", AcknowledgeExecutors) for each in command.acknowledgements]
    assert told == [ExecutorAcknowledgement(F, X, ContainerId("c1"))] * 2, "or it would repeat it for ever"


def test_the_end_of_an_executor_that_nobody_knows_is_acknowledged() -> None:
    world = World()
    world.register("a1")
    world.report("a1", exited("t1"))
    assert len(world.commanded("a1", AcknowledgeExecutors)) == 1


def test_an_executor_that_was_never_launched_is_released_by_the_task_that_was_to_launch_it() -> None:
    """Its agent refused the task: no container ever had a name that the master could know."""
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), inside("t1"))
    world.update("a1", "f", "t1", TaskState.DROPPED, confirmed=2)
    assert used_cpus(world) == 500
    world.report("a1", exited("t1", container="none"))
    assert used_cpus(world) == 0


def test_a_repeated_word_of_an_earlier_life_ends_nothing_of_the_next() -> None:
    world = World()
    one_inside(world)
    world.report("a1", exited("t1"))
    world.update("a1", "f", "t1", TaskState.FAILED)
    launch_anew(world, inside("t2"))
    assert [run.launch_executor for run in world.commanded("a1", RunTasks)] == [True]
    world.report("a1", exited("t1"))
    assert charged(world) == ["t2"]
    world.report("a1", exited("t2", container="c2"))
    assert charged(world) == []


def test_a_task_that_crossed_with_the_end_of_its_executor_is_dropped_and_nothing_is_released_twice() -> None:
    """The agent was told that the executor is there; it is not, so the task is dropped, and the next one launches a new one."""
    world = World()
    one_inside(world)
    launch_anew(world, inside("t2"))
    assert [run.launch_executor for run in world.commanded("a1", RunTasks)] == [False]
    world.report("a1", exited("t1"))
    assert used_cpus(world) == 2000
    world.update("a1", "f", "t2", TaskState.DROPPED, confirmed=3)
    world.update("a1", "f", "t1", TaskState.FAILED, confirmed=3)
    assert used_cpus(world) == 0
    launch_anew(world, inside("t3"))
    assert [run.launch_executor for run in world.commanded("a1", RunTasks)] == [False, True]


def test_offers_name_the_executors_that_are_there() -> None:
    world = World()
    one_inside(world)
    world.update("a1", "f", "t1", TaskState.FINISHED)
    assert world.offer("f").executor_ids == (X,)


# -- registration


def test_a_new_master_charges_what_an_agent_lists() -> None:
    world = World()
    world.register("a1", frameworks=(FrameworkInfo(framework_id=F, name="f"),), executors=(runs("t1"),))
    assert used_cpus(world) == 500
    held = world.core.state.agents[A1].executors[F, X]
    assert held.container_id == "c1"
    world.subscribe("f")
    world.launch("f", world.offer("f"), inside("t2"))
    assert [run.launch_executor for run in world.commanded("a1", RunTasks)] == [False]
    world.report("a1", exited("t1"))
    assert charged(world) == []


def test_registering_twice_charges_an_executor_once() -> None:
    world = World()
    one_inside(world)
    for _ in range(2):
        world.register("a1", executors=(runs("t1"),), tasks=(listed("f", inside("t1")),), confirmed=2)
    assert used_cpus(world) == 1500
    assert world.told("f", Failure) == []


def test_an_executor_that_its_agent_does_not_list_has_ended_and_is_told_of_once() -> None:
    world = World()
    one_inside(world)
    world.register("a1", session="s2")
    assert used_cpus(world) == 0
    world.report("a1", exited("t1"), session="s2")
    assert [(each.executor_id, each.agent_id) for each in world.told("f", Failure)] == [(X, A1)]


def test_an_executor_whose_launch_is_on_its_way_is_kept_though_it_is_not_listed() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), inside("t1"))
    world.register("a1", confirmed=1)
    assert used_cpus(world) == 1500
    world.register("a1", session="s2")
    assert used_cpus(world) == 1500, "its next life is told again"
    assert {run.launch_executor for run in world.commanded("a1", RunTasks)} == {True}


def test_what_an_agent_lists_counts_more_than_what_is_on_its_way() -> None:
    """The launch of another life is refused there, which the agent says with the task of that launch."""
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), inside("t2"))
    world.register("a1", executors=(runs("t1"),), confirmed=1)
    assert charged(world) == ["t1"]
    world.report("a1", exited("t2", container="none"), confirmed=2)
    assert charged(world) == ["t1"]


def test_an_agent_that_is_lost_takes_its_executors_out_of_the_books_and_brings_them_back() -> None:
    world = World(settings=QUICK)
    one_inside(world)
    world.pass_time(12_000, frameworks=("f",))
    assert A1 not in world.core.state.agents
    assert world.core.state.frameworks[F].executors == {}
    world.register("a1", executors=(runs("t1"),), tasks=(listed("f", inside("t1")),), confirmed=2)
    assert used_cpus(world) == 1500


def test_a_lost_agent_that_comes_back_before_the_launch_has_reached_it_is_charged_for_it() -> None:
    world = World(settings=QUICK)
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), inside("t1"))
    world.pass_time(12_000, frameworks=("f",))
    world.register("a1", confirmed=1)
    assert used_cpus(world) == 1500


def test_an_agent_that_shrank_below_its_executors_has_nothing_free() -> None:
    world = World()
    one_inside(world)
    world.register(
        "a1", "cpus:1;mem:64", executors=(runs("t1"),), tasks=(listed("f", inside("t1")),), confirmed=2, session="s2"
    )
    agent = world.core.state.agents[A1]
    assert agent.total == agent.used.unallocated()


def test_an_agent_that_leaves_releases_its_executors() -> None:
    world = World()
    one_inside(world)
    world.report("a1", UnregisterAgent())
    assert world.core.state.frameworks[F].executors == {}
    assert world.told("f", Failure) == [Failure(A1)]


# -- the end of a framework


def test_a_framework_with_nothing_but_an_executor_is_ended_with_it() -> None:
    world = World()
    one_inside(world)
    world.update("a1", "f", "t1", TaskState.FINISHED)
    world.acknowledge("f", "a1", "t1")
    world.call("f", Teardown())
    assert world.commanded("a1", ShutdownFramework) == [ShutdownFramework(F)]
    assert F in world.core.state.frameworks, "its executor is in use until it has ended"
    world.report("a1", exited("t1"))
    assert F in world.core.state.completed_frameworks
    assert used_cpus(world) == 0


def test_an_executor_of_a_framework_that_ended_is_charged_until_it_is_shut_down() -> None:
    world = World()
    world.subscribe("f")
    world.call("f", Teardown())
    world.register("a1", frameworks=(FrameworkInfo(framework_id=F, name="f"),), executors=(runs("t1"),))
    assert used_cpus(world) == 500
    assert world.commanded("a1", ShutdownFramework) == [ShutdownFramework(F)]
    world.report("a1", exited("t1"))
    assert F in world.core.state.completed_frameworks
    assert used_cpus(world) == 0


# -- messages


def test_messages_and_shutdowns_go_to_executors_that_are_there() -> None:
    world = World()
    one_inside(world)
    world.call("f", Message(A1, X, b"hello"), Shutdown(A1, X))
    assert world.commanded("a1", ExecutorMessage) == [ExecutorMessage(F, X, b"hello")]
    assert world.commanded("a1", ShutdownExecutor) == [ShutdownExecutor(F, X)]
    world.report("a1", AgentMessage(F, X, b"and you"))
    assert world.told("f", FrameworkMessage) == [FrameworkMessage(A1, X, b"and you")]


def test_messages_to_an_executor_that_has_ended_are_lost_without_complaint() -> None:
    world = World()
    one_inside(world)
    world.report("a1", exited("t1"))
    world.call("f", Message(A1, X, b"hello"), Shutdown(A1, X))
    assert world.commanded("a1", ExecutorMessage) == []
    assert world.set_aside == []


def test_who_shuts_down_an_executor_that_is_not_there_is_told_so_as_of_its_end() -> None:
    world = World()
    one_inside(world)
    world.report("a1", exited("t1"))
    world.call("f", Shutdown(A1, X), Shutdown(AgentId("unknown"), X))
    [_, again] = world.told("f", Failure)
    assert (again.agent_id, again.executor_id) == (A1, X)
    assert world.commanded("a1", ShutdownExecutor) == []


def test_messages_that_are_too_large_are_set_aside() -> None:
    world = World()
    one_inside(world)
    large = bytes(MAX_EXECUTOR_DATA_BYTES + 1)
    world.call("f", Message(A1, X, large))
    world.report("a1", AgentMessage(F, X, large))
    assert [letter.reason.split(";")[0] for letter in world.set_aside] == [
        "Message: data of 1048577 bytes",
        "AgentMessage: data of 1048577 bytes",
    ]
    assert world.commanded("a1", ExecutorMessage) == []
    assert world.told("f", FrameworkMessage) == []


def test_a_master_that_is_busy_acknowledges_ends_of_executors_in_one_command() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.report("a1", *(exited(f"t{n}", f"c{n}", f"x{n}") for n in range(50)), AgentHeartbeat())
    assert [len(command.acknowledgements) for command in world.commanded("a1", AcknowledgeExecutors)] == [50]


@pytest.mark.parametrize("size", [1, 100])
def test_a_registration_of_any_number_of_executors_sums_up(size: int) -> None:
    world = World()
    info = FrameworkInfo(framework_id=F, name="f")
    executors = tuple(
        replace(runs(f"t{n}", f"c{n}"), executor=executor(f"x{n}", "cpus:0.01;mem:32")) for n in range(size)
    )
    world.register("a1", frameworks=(info,), executors=executors)
    assert world.core.state.agents[A1].used.unallocated() == Resources.parse(f"cpus:{size / 100};mem:{32 * size}")
