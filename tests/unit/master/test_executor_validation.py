"""What the master says of tasks with executors, executors and groups that are not right (reference 2.4 T11 to T14, 2.5, 2.6)."""

import pytest
from msgspec.structs import replace

from mesolite.ids import AgentId, ExecutorId, FrameworkId, TaskId
from mesolite.master.validation.framework import MAX_DURATION_MS
from mesolite.master.validation.group import MAX_GROUP_TASKS
from mesolite.master.validation.work import MAX_TASK_TEXT_BYTES
from mesolite.protocol import (
    Accept,
    CommandInfo,
    ContainerInfo,
    ExecutorInfo,
    Filters,
    KillPolicy,
    LaunchGroupOperation,
    Reason,
    RunTaskGroup,
    RunTasks,
    TaskInfo,
    TaskState,
    Update,
    Uri,
    Volume,
)
from mesolite.protocol.executor import MAX_EXECUTOR_DATA_BYTES
from mesolite.resources import Resource, Resources, ResourceType

from .world import World, executor, inside, task

X = executor("x")


def world_with(resources: str = "cpus:4;mem:4096;ports:[31000-31005]") -> World:
    world = World()
    world.subscribe("f")
    world.register("a1", resources)
    return world


def said_of(world: World, task_id: str) -> list[tuple[TaskState, Reason | None, str]]:
    told = [each.status for each in world.told("f", Update) if each.status.task_id == task_id]
    return [(status.state, status.reason, status.message) for status in told]


BAD_TASKS = {
    "T11 neither": (replace(task("t"), command=None), "the task has neither a command nor an executor"),
    "T11 both": (
        replace(inside("t"), command=CommandInfo(value="true")),
        "the task has both a command and an executor",
    ),
    "T9 container inside": (
        replace(inside("t"), container=ContainerInfo(image="python")),
        "the task has a container of its own, but runs in its executor's",
    ),
    "T7 nothing": (inside("t", resources=""), "the task asks for no resources"),
    "T4": (replace(inside("t"), kill_policy=KillPolicy(-1)), "kill_policy.grace_period_ms is -1"),
    "T3": (inside("t", agent="a2"), "the task is for agent a2, the offer from agent a1"),
    "T1": (inside("a/b"), "the task id contains a slash"),
    "data": (replace(inside("t"), data=bytes(MAX_EXECUTOR_DATA_BYTES + 1)), "the task's data are 1048577 bytes"),
    "labels": (replace(inside("t"), labels={"l": "x" * MAX_TASK_TEXT_BYTES}), "the task's labels are over"),
    "name": (replace(inside("t"), name="x" * (MAX_TASK_TEXT_BYTES + 1)), "the task's name has"),
    "E1": (
        inside("t", within=replace(X, command=CommandInfo())),
        "the executor's command: a shell command needs its text",
    ),
    "E2 id": (inside("t", within=replace(X, executor_id=ExecutorId(""))), "the executor id is empty"),
    "E2 grace": (
        inside("t", within=replace(X, shutdown_grace_period_ms=-1)),
        "the executor's shutdown_grace_period_ms is -1",
    ),
    "E2 absurd grace": (
        inside("t", within=replace(X, shutdown_grace_period_ms=MAX_DURATION_MS + 1)),
        "the executor's shutdown_grace_period_ms is",
    ),
    "E2 environment": (
        inside("t", within=replace(X, command=CommandInfo(value="x", environment={"A=B": ""}))),
        "the executor's command: an environment variable's name",
    ),
    "E2 URIs": (
        inside("t", within=replace(X, command=CommandInfo(value="x", uris=(Uri("x" * MAX_TASK_TEXT_BYTES),)))),
        "the executor's command: the command, its environment and its URIs are over",
    ),
    "E2 container": (
        inside("t", within=replace(X, container=ContainerInfo(volumes=(Volume("/a", "/b"),) * 1001))),
        "the executor's container: 1001 volumes",
    ),
    "E2 data": (
        inside("t", within=replace(X, data=bytes(MAX_EXECUTOR_DATA_BYTES + 1))),
        "the executor's data are 1048577 bytes",
    ),
    "E2 labels": (
        inside("t", within=replace(X, labels={"x" * MAX_TASK_TEXT_BYTES: "y"})),
        "the executor's labels are over",
    ),
    "E2 name": (inside("t", within=replace(X, name="x" * (MAX_TASK_TEXT_BYTES + 1))), "the executor's name has"),
    "E4 resources": (
        inside("t", within=replace(X, resources=(Resource("cpus", ResourceType.SCALAR, -1),))),
        "the executor's resources: ",
    ),
    "G4 cpus": (
        inside("t", within=executor("x", "cpus:0.001;mem:64")),
        "the executor asks for less than 0.01 cpus of its own",
    ),
    "G4 mem": (inside("t", within=executor("x", "cpus:1")), "the executor asks for less than 6 MiB of mem of its own"),
    "T14 task": (
        inside("t", resources="cpus:4;mem:64"),
        "the task asks for cpus:4;mem:64; the offer has cpus:3.5;mem:4032",
    ),
    "T14 executor": (inside("t", within=executor("x", "cpus:5;mem:64")), "the task's executor asks for cpus:5;mem:64"),
    "T13": (
        inside(
            "t",
            resources="cpus:1;mem:64;ports:[31000-31000]",
            within=executor("x", "cpus:0.5;mem:64;ports:[31000-31001]"),
        ),
        "the task asks for cpus:1;mem:64;ports:[31000-31000]; the offer has cpus:3.5;mem:4032;ports:[31002-31005] left",
    ),
}


@pytest.mark.parametrize("name", BAD_TASKS)
def test_a_task_with_a_bad_executor_is_refused_with_the_reason_and_charges_nothing(name: str) -> None:
    info, message = BAD_TASKS[name]
    world = world_with()
    world.launch("f", world.offer("f"), info)
    said = said_of(world, info.task_id)
    assert [(state, reason) for state, reason, _ in said] == [(TaskState.ERROR, Reason.TASK_INVALID)]
    assert said[0][2].startswith(message)
    agent = world.core.state.agents[AgentId("a1")]
    assert not agent.used
    assert not agent.executors
    assert world.commanded("a1", RunTasks) == []


def test_a_bad_task_takes_none_of_its_neighbours_with_it() -> None:
    world = world_with()
    world.launch("f", world.offer("f"), inside("t1"), inside("t/2"), inside("t3"))
    assert [each.task_id for run in world.commanded("a1", RunTasks) for each in run.tasks] == ["t1", "t3"]
    assert [state for state, _, _ in said_of(world, "t/2")] == [TaskState.ERROR]


def test_tasks_inside_an_executor_may_be_as_small_as_they_like() -> None:
    world = world_with()
    world.launch("f", world.offer("f"), inside("t", resources="cpus:0.001"))
    assert len(world.commanded("a1", RunTasks)) == 1


DIFFERENCES = {
    "command": replace(X, command=CommandInfo(value="serve better")),
    "data": replace(X, data=b"other"),
    "resources": executor("x", "cpus:0.2;mem:64"),
    "labels": replace(X, labels={"a": "b"}),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_an_executor_id_that_is_on_the_agent_means_that_executor(name: str) -> None:
    """E5. It holds also within one ACCEPT, and is over with the executor."""
    world = world_with()
    world.launch("f", world.offer("f"), inside("t1"), inside("t2", within=DIFFERENCES[name]))
    said = said_of(world, "t2")
    assert [state for state, _, _ in said] == [TaskState.ERROR]
    assert said[0][2].startswith("executor x is on the agent already, and described otherwise")
    world.launch(
        "f",
        world.offer("f"),
        inside("t3"),
        inside("t4", within=replace(DIFFERENCES[name], executor_id=ExecutorId("y"))),
    )
    assert [each.task_id for run in world.commanded("a1", RunTasks) for each in run.tasks] == ["t1", "t3", "t4"]


# -- groups


def launch_group(world: World, *tasks: TaskInfo, within: ExecutorInfo = X) -> None:
    held = tuple(world.core.state.frameworks[FrameworkId("f")].offers)
    world.call("f", Accept(held, (LaunchGroupOperation(within, tasks),), Filters(refuse_ms=0)))


def member(task_id: str, resources: str = "cpus:1;mem:64") -> TaskInfo:
    return replace(inside(task_id, resources=resources), executor=None)


def test_a_group_is_launched_in_one_piece_under_one_executor() -> None:
    world = world_with()
    launch_group(world, member("t1"), inside("t2"))
    sent = world.commanded("a1", RunTaskGroup)
    assert [(run.executor, run.launch_executor) for run in sent] == [(X, True)]
    assert [(each.task_id, each.executor) for each in sent[0].tasks] == [("t1", None), ("t2", None)]
    assert world.core.state.agents[AgentId("a1")].used.scalar("cpus") == 2500
    launch_group(world, member("t3"))
    assert [run.launch_executor for run in world.commanded("a1", RunTaskGroup)] == [True, False]
    assert {held.launched_by for held in world.core.state.agents[AgentId("a1")].executors.values()} == {TaskId("t1")}


BAD_GROUPS = {
    "a bad member": ([member("t1"), member("t/2")], X, "task t/2: the task id contains a slash"),
    "G1": ([member("t1"), inside("t2", within=executor("y"))], X, "task t2: its executor is not the group's"),
    "a command": ([member("t1"), task("t2")], X, "task t2: the task has both a command and an executor"),
    "a container": (
        [member("t1"), replace(member("t2"), container=ContainerInfo())],
        X,
        "task t2: the task has a container of its own",
    ),
    "G4": ([member("t1")], executor("x", "cpus:1"), "the executor asks for less than 6 MiB"),
    "E4": (
        [member("t1")],
        replace(X, resources=(Resource("cpus", ResourceType.SCALAR, -1),)),
        "the executor's resources: ",
    ),
    "R-rules": (
        [member("t1"), replace(member("t2"), resources=(Resource("cpus", ResourceType.SCALAR, -1),))],
        X,
        "resource 'cpus'",
    ),
    "G5 among tasks": (
        [member("t1", "cpus:1;ports:[31000-31000]"), member("t2", "cpus:1;ports:[31000-31001]")],
        X,
        "task t2: the task asks for cpus:1;ports:[31000-31001]",
    ),
    "G5 with the executor": (
        [member("t1", "cpus:1;ports:[31000-31000]")],
        executor("x", "cpus:1;mem:64;ports:[31000-31000]"),
        "task t1: the task asks for cpus:1;ports:[31000-31000]",
    ),
    "G6": (
        [member("t1", "cpus:2"), member("t2", "cpus:2")],
        X,
        "task t2: the task asks for cpus:2; the offer has cpus:1.5",
    ),
    "the same id twice": ([member("t1"), member("t1")], X, "task t1: its id stands twice in the group"),
    "too many": ([member(f"t{n}", "cpus:0.001") for n in range(MAX_GROUP_TASKS + 1)], X, "the group has 1001 tasks"),
    "too much data": (
        [replace(member(f"t{n}", "cpus:0.1"), data=bytes(MAX_EXECUTOR_DATA_BYTES)) for n in range(5)],
        X,
        "the data of the group's tasks are 5242880 bytes",
    ),
}


@pytest.mark.parametrize("name", BAD_GROUPS)
def test_a_group_that_is_not_right_is_refused_whole(name: str) -> None:
    tasks, within, message = BAD_GROUPS[name]
    world = world_with()
    launch_group(world, *tasks, within=within)
    told = [each.status for each in world.told("f", Update)]
    assert [status.task_id for status in told] == [each.task_id for each in tasks]
    assert {(status.state, status.reason) for status in told} == {(TaskState.ERROR, Reason.TASK_GROUP_INVALID)}
    assert all(status.message.startswith(message) for status in told), told[0].message
    assert world.commanded("a1", RunTaskGroup) == []
    assert not world.core.state.agents[AgentId("a1")].used
    assert Resources.of(world.core_offer("f").resources).scalar("cpus") == 4000, "all of it is offered again"


def test_an_empty_group_is_nothing_at_all() -> None:
    world = world_with()
    launch_group(world)
    assert world.told("f", Update) == []
    assert world.commands("a1")[1:] == []


def test_groups_on_void_offers_are_dropped_like_tasks() -> None:
    world = world_with()
    offer = world.offer("f")
    launch_group(world)
    world.call("f", Accept((offer.offer_id,), (LaunchGroupOperation(X, (member("t1"), member("t2"))),)))
    told = [(each.status.task_id, each.status.state, each.status.reason) for each in world.told("f", Update)]
    assert told == [(name, TaskState.DROPPED, Reason.INVALID_OFFERS) for name in ("t1", "t2")]
