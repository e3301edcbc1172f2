"""Tasks in warm workers on a real cluster of processes."""

from collections.abc import Generator
from dataclasses import replace

import pytest

from mesolite.discovery import ClusterAddress
from mesolite.executors.python.calls import End
from mesolite.frameworks.futures.errors import CannotRun, TooLargeForCluster
from tests.contract.futures_pools import process_cluster
from tests.waiting import eventually

from .warm_rig import KIND, WarmRig, warm_rig


@pytest.fixture(scope="module")
def address() -> Generator[ClusterAddress]:
    with process_cluster() as started:
        yield started


@pytest.fixture
def rig(address: ClusterAddress) -> Generator[WarmRig]:
    with warm_rig(address) as made:
        yield made


def test_tasks_return_and_say_where_they_ran(rig: WarmRig) -> None:
    runner = rig.runner()
    tasks = rig.tasks(20)
    runner.submit(tasks)
    assert [task.returned()[0] for task in tasks] == [task.run.task_id for task in tasks]
    assert all(len(task.endings) == 1 for task in tasks)
    views = {view.executor_id: view for view in runner.executors()}
    for task in tasks:
        assert task.place is not None
        assert views[task.place.executor_id].agent_id == task.place.agent_id


def test_each_worker_has_an_executor_of_its_own(rig: WarmRig) -> None:
    runner = rig.runner()
    tasks = rig.tasks(4, "wait")
    runner.submit(tasks)
    rig.await_begun(tasks)
    eventually(lambda: all(task.places for task in tasks))
    assert len({place.executor_id for task in tasks for place in task.places if place is not None}) == 4
    eventually(lambda: [(view.workers, view.calls) for view in runner.executors()] == [(1, 1)] * 4)
    rig.open_gate()
    assert len({task.returned()[1] for task in tasks}) == 4


def test_a_task_over_its_time_limit_is_ended_and_the_next_runs(rig: WarmRig) -> None:
    runner = rig.runner(max_workers=1)
    slow, fast = rig.task("wait", max_time_s=0.3), rig.task()
    runner.submit([slow, fast])
    assert slow.outcome().end is End.TIMED_OUT
    assert fast.returned()[0] == fast.run.task_id


def test_a_task_over_its_memory_limit_ends_with_limit_and_peak_and_its_neighbours_go_on(rig: WarmRig) -> None:
    runner = rig.runner()
    greedy, others = rig.task("eat"), rig.tasks(10)
    runner.submit([greedy, *others])
    outcome = greedy.outcome()
    assert outcome.end is End.OUT_OF_MEMORY
    assert outcome.limit_bytes >= KIND.mem_mib * 1024 * 1024
    # The kernel ends it before it has all of that.
    assert outcome.peak_bytes > KIND.mem_mib * 1024 * 1024 / 2
    assert all(task.returned() for task in others)


def test_a_task_is_killed_whether_it_has_begun_or_not(rig: WarmRig) -> None:
    runner = rig.runner(max_workers=1)
    running, waiting = rig.task("wait"), rig.task()
    runner.submit([running])
    rig.await_begun([running])
    runner.submit([waiting])
    runner.kill(waiting.name)
    assert not waiting.outcome().begun
    runner.kill(running.name)
    outcome = running.outcome()
    assert (outcome.end, outcome.begun) == (End.CANCELLED, True)


def test_only_what_has_not_begun_can_be_withdrawn(rig: WarmRig) -> None:
    runner = rig.runner(max_workers=1)
    running, waiting = rig.task("wait"), rig.task()
    runner.submit([running, waiting])
    rig.await_begun([running])
    for task in (running, waiting):
        runner.withdraw(task.name)
    assert not waiting.outcome().begun
    rig.open_gate()
    assert running.returned()[0] == running.run.task_id


def test_a_shape_that_no_agent_has_is_refused_with_the_largest_and_others_run(rig: WarmRig) -> None:
    runner = rig.runner()
    large = replace(KIND, mem_mib=1_000_000)
    for _ in range(2):
        task = rig.task(kind=large)
        runner.submit([task])
        ending = task.ending()
        assert isinstance(ending, TooLargeForCluster)
        assert "4096" in str(ending)
    fits = rig.task()
    runner.submit([fits])
    assert fits.returned()[0] == fits.run.task_id


def test_a_python_that_is_nowhere_is_a_clear_refusal(rig: WarmRig) -> None:
    runner = rig.runner()
    task = rig.task(kind=replace(KIND, python="/no/such/python"))
    runner.submit([task])
    assert isinstance(task.ending(), CannotRun)


def test_workers_without_tasks_are_given_back(rig: WarmRig) -> None:
    runner = rig.runner(idle_ms=300)
    tasks = rig.tasks(3, "wait")
    runner.submit(tasks)
    rig.await_begun(tasks)
    rig.open_gate()
    assert all(task.returned() for task in tasks)
    eventually(lambda: not runner.executors())


def test_an_idle_worker_is_given_back_and_not_one_that_works(rig: WarmRig) -> None:
    runner = rig.runner(idle_ms=300)
    short, long = rig.tasks(3, "work"), rig.task("wait")
    runner.submit([long, *short])
    assert all(task.returned() for task in short)
    rig.await_begun([long])
    eventually(lambda: len(runner.executors()) == 1)
    rig.open_gate()
    assert long.returned()[0] == long.run.task_id


def test_an_old_executor_is_replaced_while_tasks_flow(rig: WarmRig) -> None:
    runner = rig.runner(max_age_ms=1_500, max_workers=1)
    first = rig.task()
    runner.submit([first])
    first.returned()
    assert first.place is not None
    old = first.place.executor_id

    def another() -> bool:
        task = rig.task()
        runner.submit([task])
        task.returned()
        assert task.place is not None
        return task.place.executor_id != old

    eventually(another)
    eventually(lambda: old not in {view.executor_id for view in runner.executors()})
