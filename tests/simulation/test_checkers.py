"""The checkers can object to what breaks a rule, and only to that."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from mesolite.agent.containerizer.contract import ContainerSpec
from mesolite.agent.containerizer.fake import FakeContainer, Fate
from mesolite.agent.executor_links.fake_executors import RunningTask
from mesolite.agent.launch import LABEL_EXECUTOR, LABEL_FRAMEWORK
from mesolite.agent.records import AgentRecord
from mesolite.ids import AgentId, ContainerId, FrameworkId, SessionId, TaskId
from mesolite.lease import Grant
from mesolite.protocol import (
    DeadLetter,
    EventBatch,
    ExecutorTask,
    Source,
    TaskState,
    TaskStatus,
    encode,
    encode_dead_letter,
)
from mesolite.transport.keys import DEAD_LETTERS, reports_stream

from .agent_process import AgentProcess
from .checkers import (
    Bounds,
    Checker,
    FinalWord,
    LeaderReturns,
    NoOverCommit,
    NoUpdateLost,
    OneEnd,
    OneLaunch,
    OneScheduler,
    OneWriter,
    Undisturbed,
    Violation,
    all_checkers,
)
from .cluster import Cluster
from .journal import TaskFacts
from .plan import draw
from .trace import Trace

KEY: Final = (FrameworkId("plain1"), TaskId("t"))


def cluster() -> Cluster:
    return Cluster(draw(1), Trace())


def facts(world: Cluster) -> TaskFacts:
    """Of a task that its scheduler launched."""
    found = world.world.journal.task(KEY)
    found.asked_by = SessionId("s")
    return found


def hear(world: Cluster, *words: tuple[TaskState, bytes | None], session: str = "s") -> None:
    """Let the scheduler hear states, with the uuid where it is an agent's word."""
    world.world.journal.heard(
        KEY[0],
        SessionId(session),
        [
            TaskStatus(task_id=KEY[1], state=state, source=Source.AGENT, timestamp_ms=0, uuid=uuid)
            for state, uuid in words
        ],
    )


def objects(checker: Checker, world: Cluster) -> bool:
    """Whether a checker objects, now or at rest."""
    try:
        checker.check(world)
        checker.settled(world)
    except Violation:
        return True
    return False


def executor_on(world: Cluster, *cpus: float) -> AgentProcess:
    """Let a machine run an executor with tasks of so many CPUs."""
    agent = world.agents[0]
    spec = ContainerSpec(
        container_id=ContainerId("e"),
        argv=("sleep", "1000000"),
        environment={},
        sandbox=Path("/sandbox"),
        cpus_milli=1_000_000,
        mem_mib=4096,
        image=None,
        labels={LABEL_FRAMEWORK: "pool1", LABEL_EXECUTOR: "x"},
        socket_dir=Path("/sockets/e"),
    )
    ends_ms = world.world.now_ms + 1_000_000
    agent.host.containers[spec.container_id] = FakeContainer(spec, Fate(), ends_ms)
    agent.executors.turn(world.world.now_ms)
    inside = agent.executors.running[spec.container_id]
    for number, amount in enumerate(cpus):
        task = ExecutorTask(task_id=TaskId(f"t{number}"), resources={"cpus": amount, "mem": 1}, data=b"hang")
        inside.tasks[task.task_id] = RunningTask(task, None)
    return agent


def test_no_over_commit_counts_executors_and_what_lives_in_them() -> None:
    """And not the limits of their containers, which shrink some time after tasks have ended."""
    world = cluster()
    cpus = float(world.agents[0].shape.cpus)
    world.world.moved = executor_on(world, cpus - 0.1)
    assert not objects(NoOverCommit(), world), "the executor has a tenth for itself"
    world = cluster()
    world.world.moved = executor_on(world, cpus)
    assert objects(NoOverCommit(), world)


def test_one_launch_objects_to_two() -> None:
    world = cluster()
    facts(world).launches.append((AgentId("a1"), ContainerId("c1")))
    assert not objects(OneLaunch(), world)
    facts(world).launches.append((AgentId("a2"), ContainerId("c2")))
    assert objects(OneLaunch(), world)


@pytest.mark.parametrize(
    ("states", "wrong"),
    [
        ([TaskState.RUNNING, TaskState.FINISHED], False),
        ([TaskState.FINISHED, TaskState.FINISHED], False),
        ([TaskState.UNREACHABLE, TaskState.RUNNING, TaskState.KILLED], False),
        ([TaskState.GONE, TaskState.FINISHED], True),
        ([TaskState.FINISHED, TaskState.RUNNING], True),
    ],
)
def test_one_end_objects_to_two_and_to_a_life_after_it(states: Sequence[TaskState], wrong: bool) -> None:
    world = cluster()
    hear(world, *((state, None) for state in states))
    assert objects(OneEnd(), world) == wrong


def test_final_word_objects_to_silence_but_not_where_the_framework_was_torn_down() -> None:
    world = cluster()
    facts(world)
    world.world.journal.jobs.clear()
    assert objects(FinalWord(), world)
    world.world.journal.ended.add(KEY[0])
    assert not objects(FinalWord(), world)


def test_final_word_objects_to_a_missing_result() -> None:
    assert objects(FinalWord(), cluster())


@pytest.mark.parametrize(
    ("heard", "wrong"),
    [
        ([b"1", b"2"], False),
        ([b"1", b"1", b"2", b"1"], False),
        ([b"1"], True),
        ([b"2"], True),
        ([b"2", b"1"], True),
        ([b"1", b"2", b"3"], True),
    ],
    ids=["all", "repeats", "the last is missing", "a hole", "out of order", "one that nobody made"],
)
def test_no_update_lost_objects_to_holes_and_disorder(heard: Sequence[bytes], wrong: bool) -> None:
    world = cluster()
    facts(world).generated.extend([(b"1", TaskState.RUNNING), (b"2", TaskState.FINISHED)])
    hear(world, *((TaskState.RUNNING, uuid) for uuid in heard))
    assert objects(NoUpdateLost(), world) == wrong


def test_undisturbed_objects_to_a_kill_that_nobody_wanted() -> None:
    world = cluster()
    facts(world).killed = True
    assert objects(Undisturbed(), world)
    facts(world).may_be_killed = True
    assert not objects(Undisturbed(), world)


def test_bounds_object_to_a_long_stream_and_to_anything_set_aside() -> None:
    world = cluster()
    assert not objects(Bounds(), world)
    for _ in range(2000):
        world.world.broker.append(reports_stream(), b"", 10_000)
    assert objects(Bounds(), world)
    world = cluster()
    letter = DeadLetter(timestamp_ms=0, source="agent a1", reason="nonsense")
    world.world.broker.append(DEAD_LETTERS, encode_dead_letter(letter), 10)
    assert objects(Bounds(), world)


def test_there_is_a_checker_of_each_kind() -> None:
    assert {type(each) for each in all_checkers()} == set(Checker.__subclasses__())


def test_no_over_commit_objects_to_containers_that_hold_more_than_there_is() -> None:
    world = cluster()
    agent = world.agents[0]
    cpus_milli = agent.shape.cpus * 1000
    assert not objects(NoOverCommit(), world)
    for name, cpus in (("c1", cpus_milli), ("c2", 10)):
        assert not objects(NoOverCommit(), world)
        spec = ContainerSpec(
            container_id=ContainerId(name),
            argv=("sleep", "9"),
            environment={},
            sandbox=Path("/sandboxes"),
            cpus_milli=cpus,
            mem_mib=4,
            image=None,
        )
        fate = Fate(duration_ms=9000)
        agent.host.containers[spec.container_id] = FakeContainer(spec, fate, world.world.now_ms + 9000)
    assert objects(NoOverCommit(), world)
    world.world.clock.advance(9000)
    assert not objects(NoOverCommit(), world), "they have ended by themselves"


def test_one_writer_objects_to_an_older_master_behind_a_newer() -> None:
    world, checker = cluster(), OneWriter()
    for epoch, wrong in ((1, False), (3, False), (2, True)):
        assert objects(checker, said(world, epoch, 1)) == wrong


def test_one_writer_objects_to_a_word_that_comes_twice() -> None:
    world, checker = cluster(), OneWriter()
    for number, wrong in ((1, False), (0, False), (2, False), (0, False), (2, True)):
        assert objects(checker, said(world, 1, number)) == wrong


def test_one_writer_objects_to_what_others_saw_go_wrong() -> None:
    world = cluster()
    journal = world.world.journal
    journal.saved(AgentId("a1"), [AgentRecord(AgentId("a1"), 7, "boot")])
    assert not objects(OneWriter(), world)
    journal.saved(AgentId("a1"), [AgentRecord(AgentId("a1"), 6, "boot")])
    assert objects(OneWriter(), world)


def test_one_writer_objects_to_a_launch_that_a_past_master_wanted() -> None:
    world = cluster()
    facts(world).launches.append((AgentId("a1"), ContainerId("c1")))
    assert objects(OneWriter(), world)
    facts(world).told_in_time = True
    assert not objects(OneWriter(), world)


def test_one_writer_objects_to_two_leaders_and_to_a_shared_epoch() -> None:
    plan = draw(1)
    plan.paces.machine_suspended = plan.paces.clock_jumps = plan.clocks.server_skew_ms = 0
    for epochs, wrong in (((5, None), False), ((5, 6), True), ((5, 5), True)):
        world = Cluster(dataclasses.replace(plan, masters=2, waits_for_replicas=True), Trace())
        for master, epoch in zip(world.masters, epochs, strict=True):
            grant = Grant(epoch=epoch, until_ms=0) if epoch is not None else None
            master.session, master.grant = master.name, fixed(grant)
        world.world.moved = world.masters[0].keeping
        assert objects(OneWriter(), world) == wrong


def test_a_long_time_without_a_leader_is_objected_to_once_there_is_peace() -> None:
    world, checker = cluster(), LeaderReturns()
    world.world.moved = world.masters[0]
    world.world.clock.advance(1_000_000)
    assert not objects(checker, world)
    world.world.peace()
    assert not objects(checker, world)
    world.world.clock.advance(world.world.plan.leaderless_ms + 1)
    assert objects(checker, world)


def test_one_scheduler_objects_to_two_that_go_on_and_to_none() -> None:
    world = Cluster(dataclasses.replace(draw(1), batches=(), plains=(("*",),), trouble_ms=0), Trace())
    assert objects(OneScheduler(), world), "nobody lives yet"
    while world.world.step(world.world.now_ms + 1000):
        if world.programs[0].driver is not None:
            break
    assert not objects(OneScheduler(), world)
    world.double(world.programs[0])
    world.programs[1].begin(world.world.now_ms)
    assert objects(OneScheduler(), world)


def fixed(grant: Grant | None) -> Callable[[], Grant | None]:
    """Return what always answers the same."""
    return lambda: grant


def said(world: Cluster, epoch: int, number: int) -> Cluster:
    """Let a master say something to a framework."""
    batch = EventBatch(session=SessionId("s"), epoch=epoch, number=number, events=())
    world.world.broker.append("framework:f", encode(batch), 100)
    return world
