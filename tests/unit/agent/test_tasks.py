"""What happens to tasks on an agent: launch, end, kill, time limit, resources."""

import pytest

from mesolite.agent.effects import Refusal, ShowTasks
from mesolite.agent.events import ContainerizerChanged, DiskChanged, TaskEndRequested
from mesolite.agent.lifecycle import Phase
from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import (
    AcknowledgeStatuses,
    CommandInfo,
    ContainerStatus,
    ExecutorInfo,
    ExecutorMessage,
    FrameworkInfo,
    Reason,
    RunTask,
    ShutdownFramework,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from mesolite.resources import Range, Resource, ResourceType

from .world import AGENT, FRAMEWORK, World, acknowledgement, run, scalar, task_info

S = TaskState


def last_status(world: World, name: str) -> TaskStatus:
    return world.core.book.tasks[FRAMEWORK, TaskId(name)].pending[-1]


def test_a_task_is_launched_once_and_reported_to_its_end() -> None:
    world = World()
    container_id = world.launch("t")
    assert [spec.container_id for spec in world.launched()] == [container_id]
    assert world.states("t") == [], "STAGING is the master's word"
    world.started(container_id)
    world.acknowledge_all("t")
    world.exited(container_id)
    assert world.states("t") == [S.RUNNING, S.FINISHED]
    world.acknowledge_all("t")
    assert world.core.book.tasks == {}
    assert world.core.book.ledger.held == {"cpus": 0, "mem": 0}


def test_the_container_is_what_the_task_says() -> None:
    world = World()
    info = TaskInfo(
        task_id=TaskId("t"),
        agent_id=AGENT,
        resources=(scalar("cpus", 0.5), scalar("mem", 64.5)),
        command=CommandInfo(value="echo $X", environment={"X": "1", "MESOS_TASK_ID": "forged"}, user="me"),
    )
    world.command(RunTask(FrameworkInfo(framework_id=FRAMEWORK, name="f"), info))
    (spec,) = world.launched()
    assert spec.argv == ("sh", "-c", "echo $X")
    assert (spec.cpus_milli, spec.mem_mib) == (500, 65)
    assert spec.environment["X"] == "1"
    assert spec.environment["MESOS_TASK_ID"] == "t"
    assert str(spec.sandbox) == f"/sandboxes/f/t/{spec.container_id}"
    assert (spec.image, spec.user) == (None, "me")


def test_fetching_shows_as_starting() -> None:
    world = World()
    container_id = world.launch("t")
    world.preparing(container_id)
    world.acknowledge_all("t")
    world.started(container_id)
    assert world.states("t") == [S.STARTING, S.RUNNING]
    assert world.updates("t")[0].status.message == "pulling"


def test_an_exit_code_is_a_failure_that_names_it() -> None:
    world = World()
    world.exited(world.running("t"), 7)
    status = last_status(world, "t")
    assert (status.state, status.reason) == (S.FAILED, Reason.COMMAND_EXECUTOR_FAILED)
    assert "code 7" in status.message
    assert status.container_status == ContainerStatus(
        container_id=world.container("t"), exit_code=7, peak_mem_bytes=5 * 1024 * 1024, mem_limit_mib=64
    )


def test_a_task_over_its_memory_limit_says_limit_and_peak() -> None:
    world = World()
    world.exited(world.running("t"), 137, oom=True)
    status = last_status(world, "t")
    assert (status.state, status.reason) == (S.FAILED, Reason.CONTAINER_LIMITATION_MEMORY)
    assert "64 MiB" in status.message
    assert "5.0 MiB" in status.message


def test_a_launch_that_fails_names_the_stage() -> None:
    world = World()
    world.failed(world.launch("t"))
    status = last_status(world, "t")
    assert (status.state, status.reason) == (S.FAILED, Reason.CONTAINER_LAUNCH_FAILED)
    assert status.message == "image: no such image"
    assert world.core.book.ledger.held["cpus"] == 0


# -- kill


def test_a_kill_waits_for_the_container_and_ignores_its_exit_code() -> None:
    world = World()
    container_id = world.running("t")
    world.kill("t")
    assert world.kills() == [(container_id, 3000)]
    assert world.core.book.ledger.held["cpus"] == 1000, "resources are kept until the container is gone"
    world.exited(container_id, 0)
    world.acknowledge_all("t")
    assert world.states("t") == [S.RUNNING, S.KILLING, S.KILLED]


def test_a_kill_before_the_launch_finished_says_so() -> None:
    world = World()
    container_id = world.launch("t")
    world.kill("t")
    world.exited(container_id, None)
    assert last_status(world, "t").reason is Reason.TASK_KILLED_DURING_LAUNCH
    assert last_status(world, "t").state is S.KILLED


def test_a_kill_that_crosses_the_start_is_said_again() -> None:
    world = World()
    container_id = world.launch("t")
    world.kill("t", 500)
    world.started(container_id)
    world.exited(container_id, 143)
    assert world.kills() == [(container_id, 500), (container_id, 500)]
    assert last_status(world, "t").reason is None


def test_a_second_kill_may_hasten_the_end_but_not_put_it_off() -> None:
    world = World()
    container_id = world.running("t")
    world.kill("t", 10_000)
    world.kill("t")
    world.kill("t", 1_000)
    world.kill("t", 60_000)
    assert [grace_ms for _, grace_ms in world.kills()] == [10_000, 10_000, 1_000, 1_000]
    assert {each for each, _ in world.kills()} == {container_id}


def test_the_tasks_own_grace_holds_where_the_kill_has_none() -> None:
    world = World()
    info = task_info("t", grace_ms=7000)
    world.command(RunTask(FrameworkInfo(framework_id=FRAMEWORK, name="f"), info))
    world.kill("t")
    assert world.kills()[0][1] == 7000


def test_nonsense_graces_are_brought_within_bounds() -> None:
    world = World()
    world.running("t")
    world.kill("t", -5)
    assert world.kills()[0][1] == 0


def test_a_late_kill_changes_nothing() -> None:
    world = World()
    container_id = world.running("t")
    world.exited(container_id)
    world.kill("t")
    assert world.kills() == []
    world.acknowledge_all("t")
    world.kill("t")
    assert world.refusals() == [Refusal.UNKNOWN_TASK]


def test_flower_ends_a_task_by_its_id() -> None:
    world = World()
    container_id = world.running("t")
    world.apply(TaskEndRequested(now_ms=world.now_ms, task_id=TaskId("t")))
    world.apply(TaskEndRequested(now_ms=world.now_ms, task_id=TaskId("other")))
    world.exited(container_id, 143)
    assert last_status(world, "t").state is S.KILLED
    assert "operator" in last_status(world, "t").message


# -- time limit


def test_a_task_that_runs_too_long_fails_with_that_reason() -> None:
    world = World()
    container_id = world.launch("t", limit_ms=60_000)
    world.tick(50_000)
    world.started(container_id)
    world.tick(59_999)
    assert world.kills() == []
    world.tick(1)
    assert world.kills() == [(container_id, 3000)]
    world.exited(container_id, 0)
    assert last_status(world, "t").state is S.FAILED
    assert last_status(world, "t").reason is Reason.MAX_COMPLETION_TIME_REACHED


def test_a_kill_before_the_time_limit_stays_a_kill() -> None:
    world = World()
    container_id = world.running("t", limit_ms=1000)
    world.kill("t")
    world.tick(2000)
    world.exited(container_id, 0)
    assert last_status(world, "t").state is S.KILLED


def test_the_time_limit_is_the_next_deadline() -> None:
    world = World()
    world.running("t", limit_ms=1234)
    assert world.core.next_deadline_ms() == world.now_ms + 1234


# -- refusals


def refusal_of(world: World, info: TaskInfo) -> TaskStatus:
    world.command(RunTask(FrameworkInfo(framework_id=FRAMEWORK, name="f"), info))
    assert world.launched() == []
    assert world.core.book.ledger.held["cpus"] == 0
    return last_status(world, info.task_id)


@pytest.mark.parametrize(
    "info",
    [
        TaskInfo(task_id=TaskId("../t"), agent_id=AGENT, command=CommandInfo(value="true")),
        TaskInfo(task_id=TaskId("t"), agent_id=AgentId("other"), command=CommandInfo(value="true")),
        TaskInfo(task_id=TaskId("t"), agent_id=AGENT),
        TaskInfo(task_id=TaskId("t"), agent_id=AGENT, command=CommandInfo()),
        TaskInfo(task_id=TaskId("t"), agent_id=AGENT, command=CommandInfo(shell=False)),
        TaskInfo(task_id=TaskId("t"), agent_id=AGENT, command=CommandInfo(value="a\0b")),
        TaskInfo(task_id=TaskId("t"), agent_id=AGENT, command=CommandInfo(value="a", environment={"a=b": ""})),
        TaskInfo(task_id=TaskId("t"), agent_id=AGENT, command=CommandInfo(value="a"), max_completion_time_ms=-1),
        TaskInfo(task_id=TaskId("t"), agent_id=AGENT, command=CommandInfo(value="a"), resources=(scalar("cpus", -1),)),
        TaskInfo(
            task_id=TaskId("t"),
            agent_id=AGENT,
            command=CommandInfo(value="a"),
            executor=ExecutorInfo(executor_id=ExecutorId("e"), command=CommandInfo(value="a")),
        ),
    ],
)
def test_what_makes_no_sense_is_an_error_and_never_a_path(info: TaskInfo) -> None:
    status = refusal_of(World(), info)
    assert (status.state, status.reason) == (S.ERROR, Reason.TASK_INVALID)
    assert status.message


def test_what_does_not_fit_is_dropped_whatever_the_master_believes() -> None:
    world = World(cpus=2)
    world.command(run("a"), run("b"), run("c"))
    assert len(world.launched()) == 2
    status = last_status(world, "c")
    assert (status.state, status.reason) == (S.DROPPED, Reason.INVALID_OFFERS)
    assert "cpus: 1 asked, 0 free" in status.message


def test_room_is_free_again_as_soon_as_a_container_is_gone() -> None:
    world = World(cpus=1)
    world.exited(world.running("a"))
    world.command(run("b"))
    assert len(world.launched()) == 2


def test_unknown_names_and_taken_ports_do_not_fit() -> None:
    world = World()
    ports = Resource(name="ports", type=ResourceType.RANGES, ranges=(Range(31000, 31000),))
    info = TaskInfo(task_id=TaskId("t"), agent_id=AGENT, command=CommandInfo(value="true"), resources=(ports,))
    assert "ports" in refusal_of(world, info).message


def test_where_containers_cannot_be_started_launches_are_dropped_and_what_runs_is_left_as_it_is() -> None:
    """A Docker Engine that hangs: whoever launched must not wait for it in silence."""
    world = World()
    container_id = world.running("before")
    world.clear()
    world.apply(ContainerizerChanged(now_ms=world.now_ms, trouble="the Docker Engine did not answer"))
    world.launch("t")
    assert world.launched() == []
    (update,) = world.updates("t")
    assert (update.status.state, update.status.reason) == (S.DROPPED, Reason.CONTAINER_LAUNCH_FAILED)
    assert "the Docker Engine did not answer" in update.status.message
    assert world.updates("before") == [], "nobody knows anything new of it"
    world.apply(ContainerizerChanged(now_ms=world.now_ms, trouble=""))
    world.command(run("later"))
    assert len(world.launched()) == 1
    world.exited(container_id)
    assert world.core.book.tasks[FRAMEWORK, TaskId("before")].phase is Phase.ENDED


def test_a_full_disk_takes_no_launches_until_there_is_room() -> None:
    world = World()
    world.apply(DiskChanged(now_ms=world.now_ms, shortage="the disk is full"))
    world.command(run("a"))
    status = last_status(world, "a")
    assert (status.state, status.reason, status.message) == (
        S.DROPPED,
        Reason.CONTAINER_LIMITATION_DISK,
        "the disk is full",
    )
    world.apply(DiskChanged(now_ms=world.now_ms, shortage=""))
    world.command(run("b"))
    assert len(world.launched()) == 1


def test_a_refusal_is_an_update_like_any_other() -> None:
    world = World(cpus=1)
    world.command(run("t", cpus=2))
    world.tick(10_000)
    assert world.states("t") == [S.DROPPED, S.DROPPED]
    world.acknowledge_all("t")
    assert world.core.book.tasks == {}
    world.command(run("t", cpus=1))
    assert world.launched() == [], "its id is used up all the same"


# -- at most once


def test_a_launch_that_comes_twice_launches_once() -> None:
    world = World()
    container_id = world.running("t")
    world.command(run("t"))
    world.exited(container_id)
    world.command(run("t"))
    world.acknowledge_all("t")
    world.command(run("t"))
    assert len(world.launched()) == 1
    assert world.refusals() == [Refusal.KNOWN_TASK] * 3


def test_an_id_that_is_used_again_is_an_error_and_not_a_silence() -> None:
    world = World()
    world.exited(world.running("t"))
    world.acknowledge_all("t")
    world.command(run("t"))
    status = last_status(world, "t")
    assert (status.state, status.reason) == (S.ERROR, Reason.TASK_INVALID)
    world.acknowledge_all("t")
    assert list(world.core.book.seen) == [(FRAMEWORK, TaskId("t"))]
    assert len(world.launched()) == 1


def test_two_frameworks_may_use_one_task_id() -> None:
    world = World()
    world.command(run("t", framework="f"), run("t", framework="g"))
    assert len({spec.sandbox for spec in world.launched()}) == 2


def test_container_ids_differ_between_tasks_and_lives() -> None:
    world = World()
    first = [world.launch("a"), world.launch("b")]
    later = world.next_life()
    assert len({*first, later.launch("c")}) == 3


def test_the_memory_of_launches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesolite.agent.taskbook.MAX_SEEN_TASKS", 2)
    world = World()
    for name in "abc":
        world.exited(world.running(name))
        world.acknowledge_all(name)
    assert [key[1] for key in world.core.book.seen] == ["b", "c"]


# -- frameworks


def test_a_framework_that_ends_takes_its_tasks_and_its_ids_along() -> None:
    world = World()
    done = world.running("done")
    world.exited(done)
    world.acknowledge_all("done")
    container_id = world.running("t")
    world.command(ShutdownFramework(FRAMEWORK))
    world.command(run("late"))
    assert last_status(world, "late").reason is Reason.FRAMEWORK_REMOVED
    world.exited(container_id, 143)
    assert last_status(world, "t").state is S.KILLED
    assert last_status(world, "t").reason is Reason.FRAMEWORK_REMOVED
    world.acknowledge_all("t")
    world.acknowledge_all("late")
    assert (world.core.book.tasks, world.core.book.frameworks, world.core.book.seen) == ({}, {}, {})


def test_an_unknown_framework_can_end() -> None:
    world = World()
    world.command(ShutdownFramework(FrameworkId("never")))
    assert world.core.book.frameworks == {}


def test_a_framework_may_end_and_come_back_within_one_batch() -> None:
    world = World()
    container_id = world.running("t")
    world.exited(container_id)
    update = world.head("t")
    assert update is not None
    world.acknowledge(update)
    last = world.head("t")
    assert last is not None
    world.command(AcknowledgeStatuses((acknowledgement(last),)), run("u"))
    assert list(world.core.book.frameworks) == [FRAMEWORK]


# -- what nobody sane sends


def test_news_of_unknown_containers_is_noted() -> None:
    world = World()
    world.exited(ContainerId("nobody"))
    assert world.refusals() == [Refusal.UNKNOWN_CONTAINER]


def test_impossible_news_is_noted_with_the_story() -> None:
    world = World()
    container_id = world.running("t")
    world.started(container_id)
    assert world.refusals() == [Refusal.ILLEGAL_TRANSITION]
    assert world.core.book.tasks[FRAMEWORK, TaskId("t")].phase is Phase.RUNNING


def test_messages_to_executors_find_nobody() -> None:
    world = World()
    world.command(ExecutorMessage(FRAMEWORK, ExecutorId("e"), b""))
    assert world.refusals() == [Refusal.UNHEARD_MESSAGE]


def test_observers_see_every_step() -> None:
    world = World()
    container_id = world.running("t")
    world.exited(container_id, 1)
    seen = [(change.task.task_id, change.state) for shown in world.done(ShowTasks) for change in shown.changes]
    assert seen == [("t", S.STAGING), ("t", S.RUNNING), ("t", S.FAILED)]
