"""What Celery's pool may expect of whoever runs its tasks, whether in warm workers or each in a container of its own."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from mesolite.discovery import ClusterAddress
from mesolite.executors.celery.protocol import TaskRun
from mesolite.executors.python.calls import End
from mesolite.frameworks.celery.calls import Runner, TaskOptions, call_name
from mesolite.frameworks.futures.engine_call import Lost
from mesolite.frameworks.futures.errors import CallError, CannotRun, TooLargeForCluster
from tests.integration.warm_rig import KIND, Task
from tests.waiting import eventually

from .celery_runners import FakeWorld, World, world_of

REAL: Final = pytest.mark.redis


@contextmanager
def opened(name: str, address: ClusterAddress) -> Generator[World]:
    """The world of this name; what it leaves is ended."""
    with tempfile.TemporaryDirectory(prefix="mesolite-runner-") as folder:
        made = world_of(name, address, Path(folder))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(params=["fake", pytest.param("single", marks=REAL), pytest.param("warm", marks=REAL)])
def world(request: pytest.FixtureRequest) -> Generator[World]:
    with opened(request.param, request.getfixturevalue("process_cluster_address")) as made:
        yield made


def at_work(world: World) -> tuple[Runner, Task]:
    """A runner, and a task of its that has begun and waits."""
    runner, task = world.runner(), world.task("wait")
    runner.submit([task])
    world.await_begun([task])
    return runner, task


def test_each_task_runs_once_and_has_its_end_told_once_with_its_place(world: World) -> None:
    runner = world.runner()
    tasks = [world.task() for _ in range(4)]
    runner.submit(tasks)
    world.settle()
    assert [task.returned()[0] for task in tasks] == [task.run.task_id for task in tasks]
    assert sorted(world.begun()) == sorted(task.run.task_id for task in tasks)
    assert all(len(task.endings) == 1 and task.place is not None for task in tasks)


def test_a_task_that_runs_is_told_to_have_begun_where_it_is(world: World) -> None:
    runner, task = at_work(world)
    eventually(lambda: len(task.places) == 1)
    [place] = task.places
    assert place is not None
    assert place.executor_id in [view.executor_id for view in runner.executors()]
    world.open_gate()
    assert task.returned()[0] == task.run.task_id
    assert task.place is not None
    assert task.place.executor_id == place.executor_id


def test_a_worker_that_dies_takes_one_task_with_it(world: World) -> None:
    runner = world.runner()
    tasks = [world.task("die"), world.task()]
    runner.submit(tasks)
    world.settle()
    assert tasks[0].outcome().end is End.DIED
    assert tasks[1].returned()[0] == tasks[1].run.task_id


def test_a_task_over_its_memory_limit_says_limit_and_peak(world: World) -> None:
    runner = world.runner()
    task = world.task("eat")
    runner.submit([task])
    world.settle()
    outcome = task.outcome()
    assert outcome.end is End.OUT_OF_MEMORY
    assert outcome.limit_bytes >= KIND.mem_mib * 1024 * 1024
    assert outcome.peak_bytes > KIND.mem_mib * 1024 * 1024 / 2


def test_a_task_that_has_begun_can_be_killed_and_not_withdrawn(world: World) -> None:
    runner, task = at_work(world)
    runner.withdraw(task.name)
    runner.kill(task.name)
    runner.kill("nobody")
    runner.withdraw("nobody")
    outcome = task.outcome()
    assert (outcome.end, outcome.begun) == (End.CANCELLED, True)


@pytest.mark.parametrize("kill", [True, False])
def test_a_task_that_waits_can_be_killed_and_withdrawn(world: World, kill: bool) -> None:
    runner = world.runner()
    # More than the cluster has, together.
    tasks = [world.task("wait", kind=replace(KIND, cpus_milli=3000)) for _ in range(4)]
    runner.submit(tasks)
    if not isinstance(world, FakeWorld):
        eventually(lambda: len(world.begun()) == 2, within_s=30)
    waiting = next(task for task in tasks if task.run.task_id not in world.begun())
    (runner.kill if kill else runner.withdraw)(waiting.name)
    outcome = waiting.outcome()
    assert (outcome.end, outcome.begun) == (End.CANCELLED, False)
    for task in tasks:
        runner.kill(task.name)
    assert all(task.outcome().end is End.CANCELLED for task in tasks)


def test_what_a_closed_runner_was_given_is_told_no_more(world: World) -> None:
    runner, task = at_work(world)
    runner.close(leave_running=False)
    runner.kill(task.name)
    assert task.endings == []


# A dispatcher that starts again


def left_running(world: World) -> Task:
    """A task of a life that is over, which has begun and waits."""
    first, task = at_work(world)
    first.close(leave_running=True)
    return task


def attached(world: World, task: Task) -> tuple[Runner, Task]:
    """The next life of its dispatcher, and the same message's task as that knows it."""
    runner, known = world.runner(), Task(task.name, task.run, task.options)
    runner.attach([known])
    return runner, known


def test_what_runs_on_is_heard_of_by_the_next_life(world: World) -> None:
    task = left_running(world)
    _, known = attached(world, task)
    eventually(lambda: len(known.places) == 1)
    world.open_gate()
    assert known.returned()[0] == task.run.task_id
    assert world.begun() == [task.run.task_id], "it ran once"
    assert task.endings == []


def test_an_end_that_nobody_heard_is_heard_by_the_next_life(world: World) -> None:
    task = left_running(world)
    world.open_gate()
    _, known = attached(world, task)
    assert known.returned()[0] == task.run.task_id


def test_a_task_of_an_earlier_life_can_be_killed(world: World) -> None:
    task = left_running(world)
    runner, known = attached(world, task)
    eventually(lambda: len(known.places) == 1)
    runner.kill(task.name)
    assert known.outcome().end is End.CANCELLED


def test_what_nobody_knows_is_not_run_and_ends_as_one_that_did_not_begin(world: World) -> None:
    """Lost; or refused, which says that it certainly did not begin, and may be submitted."""
    runner = world.runner()
    task = world.task()
    runner.attach([task])
    ending = task.ending()
    assert (
        not ending.begun
        if isinstance(ending, Lost)
        else (task.outcome().end, task.outcome().begun) == (End.REFUSED, False)
    )
    assert world.begun() == []


# Refusals, of the real ones


@pytest.fixture
def single_world(process_cluster_address: ClusterAddress) -> Generator[World]:
    with opened("single", process_cluster_address) as made:
        yield made


@pytest.fixture(params=["single", "warm"])
def real_world(request: pytest.FixtureRequest) -> Generator[World]:
    with opened(request.param, request.getfixturevalue("process_cluster_address")) as made:
        yield made


@pytest.mark.redis
def test_a_task_over_its_time_limit_is_ended(real_world: World) -> None:
    task = real_world.task("wait", max_time_s=0.3)
    real_world.runner().submit([task])
    assert task.outcome().end is End.TIMED_OUT


@pytest.mark.redis
def test_a_task_that_no_agent_can_hold_is_refused_with_the_largest(real_world: World) -> None:
    task = real_world.task(kind=replace(KIND, mem_mib=1_000_000))
    real_world.runner().submit([task])
    ending = task.ending()
    assert isinstance(ending, TooLargeForCluster)
    assert "4096" in str(ending)


@pytest.mark.redis
def test_a_python_that_is_nowhere_is_a_refusal(real_world: World) -> None:
    task = real_world.task(kind=replace(KIND, python="/no/such/python"))
    real_world.runner().submit([task])
    assert isinstance(task.ending(), CannotRun)


@pytest.mark.redis
def test_a_message_that_cannot_travel_is_refused(real_world: World) -> None:
    run = TaskRun("work", "unpicklable", {}, ((lambda: None,), {}, {}), None, None, None)
    task = Task("unpicklable", run, TaskOptions(kind=KIND))
    real_world.runner().submit([task])
    assert isinstance(task.ending(), CallError)


@pytest.mark.redis
def test_a_second_run_of_a_name_is_refused_and_the_first_goes_on(single_world: World) -> None:
    runner = single_world.runner()
    first, second = single_world.task("wait", name="twice"), single_world.task("wait", name="twice")
    runner.submit([first, second])
    assert isinstance(second.ending(), CannotRun)
    single_world.await_begun([first])
    single_world.open_gate()
    assert first.returned()[0] == "twice"


@pytest.mark.redis
@pytest.mark.parametrize("task_id", ["daily/report", "../" * 100, "two\nlines", "..", "\N{SNOWMAN}", "\udc80"])
def test_any_text_may_be_the_id_of_a_task(real_world: World, task_id: str) -> None:
    task = real_world.task(name=call_name(task_id, "0123-4567-89ab", 2))
    real_world.runner().submit([task])
    assert task.returned()[0] == task.name
