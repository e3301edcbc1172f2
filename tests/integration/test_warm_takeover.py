"""A dispatcher's runner that is over, and the one that follows it: on a real cluster of processes."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from mesolite.discovery import ClusterAddress
from mesolite.executors.python.calls import End
from mesolite.frameworks.celery.warm_records import WarmRecords
from mesolite.frameworks.futures.engine_call import Lost
from mesolite.ids import ExecutorId
from tests.contract.futures_pools import process_cluster
from tests.waiting import eventually

from .warm_rig import Task, WarmRig, warm_rig


@pytest.fixture(scope="module")
def address() -> Generator[ClusterAddress]:
    with process_cluster() as started:
        yield started


@pytest.fixture
def rig(address: ClusterAddress) -> Generator[WarmRig]:
    with warm_rig(address) as made:
        yield made


def again(rig: WarmRig, tasks: list[Task]) -> list[Task]:
    """The same tasks, as the next dispatcher knows them."""
    return [rig.task(task.run.name, name=task.name) for task in tasks]


def test_what_runs_is_attached_to_and_ends_once(rig: WarmRig) -> None:
    first = rig.runner()
    tasks = rig.tasks(4, "wait")
    first.submit(tasks)
    rig.await_begun(tasks)
    held = {view.executor_id for view in first.executors()}
    first.close(leave_running=True)
    first.join(10)
    second = rig.runner()
    attached = again(rig, tasks)
    second.attach(attached)
    eventually(lambda: all(task.places for task in attached))
    rig.open_gate()
    assert [task.returned()[0] for task in attached] == [task.run.task_id for task in tasks]
    assert sorted(rig.begun()) == sorted(task.run.task_id for task in tasks)
    assert {view.executor_id for view in second.executors()} == held
    assert not any(task.endings for task in tasks)


def test_what_had_not_begun_is_certain_not_to_have_and_can_be_submitted(rig: WarmRig) -> None:
    first = rig.runner(max_workers=1)
    running, waiting = rig.task("wait"), rig.tasks(50)
    first.submit([running, *waiting])
    rig.await_begun([running])
    first.close(leave_running=True)
    second = rig.runner(max_workers=1)
    attached = again(rig, [running, *waiting])
    second.attach(attached)
    for task in attached[1:]:
        outcome = task.outcome()
        assert (outcome.end, outcome.begun) == (End.REFUSED, False)
    anew = again(rig, waiting)
    second.submit(anew)
    rig.open_gate()
    assert all(task.returned() for task in [attached[0], *anew])
    assert sorted(rig.begun()) == sorted(task.run.task_id for task in attached)


def test_what_ended_unheard_is_not_lost(rig: WarmRig) -> None:
    first = rig.runner()
    tasks = rig.tasks(3, "wait")
    first.submit(tasks)
    rig.await_begun(tasks)
    first.close(leave_running=True)
    first.join(10)
    rig.open_gate()
    eventually(lambda: rig.journal.read_text().count("ended") == len(tasks))
    second = rig.runner()
    attached = again(rig, tasks)
    second.attach(attached)
    assert [task.returned()[0] for task in attached] == [task.run.task_id for task in tasks]


def test_what_was_heard_and_not_acted_on_is_told_again(rig: WarmRig) -> None:
    first = rig.runner()
    tasks = rig.tasks(10)
    first.submit(tasks)
    assert all(task.returned() for task in tasks)
    first.close(leave_running=True)
    second = rig.runner()
    attached = again(rig, tasks)
    second.attach(attached)
    assert [task.returned() for task in attached] == [task.returned() for task in tasks]


def test_what_nobody_ever_had_never_began(rig: WarmRig) -> None:
    runner = rig.runner()
    stranger = rig.task()
    runner.attach([stranger])
    outcome = stranger.outcome()
    assert (outcome.end, outcome.begun) == (End.REFUSED, False)


def test_what_ran_in_an_executor_that_is_over_is_lost_and_the_rest_goes_on(rig: WarmRig) -> None:
    first = rig.runner(max_workers=2)
    tasks = rig.tasks(2, "wait")
    first.submit(tasks)
    rig.await_begun(tasks)
    first.close(leave_running=True)
    first.join(10)
    kill_executor_of(rig, tasks[0])
    second = rig.runner(max_workers=2)
    lost, lives = again(rig, tasks)
    second.attach([lost, lives])
    eventually(lambda: lives.places)
    assert isinstance(lost.ending(), Lost)
    rig.open_gate()
    assert lives.returned()[0] == lives.run.task_id


def test_a_loss_that_a_dispatcher_heard_of_and_did_not_act_on_is_told_to_the_next(rig: WarmRig) -> None:
    first = rig.runner(max_workers=1)
    task = rig.task("wait")
    first.submit([task])
    rig.await_begun([task])
    kill_executor_of(rig, task)
    assert isinstance(task.ending(), Lost)
    first.close(leave_running=True)
    second = rig.runner(max_workers=1)
    [attached] = again(rig, [task])
    second.attach([attached])
    assert isinstance(attached.ending(), Lost)


def test_what_is_attached_to_can_be_killed(rig: WarmRig) -> None:
    first = rig.runner(max_workers=1)
    task = rig.task("wait")
    first.submit([task])
    rig.await_begun([task])
    first.close(leave_running=True)
    second = rig.runner(max_workers=1)
    [attached] = again(rig, [task])
    second.attach([attached])
    second.kill(attached.name)
    outcome = attached.outcome()
    assert (outcome.end, outcome.begun) == (End.CANCELLED, True)


def test_a_runner_that_was_followed_by_another_says_so_and_begins_nothing(rig: WarmRig) -> None:
    first = rig.runner()
    task = rig.task("wait")
    first.submit([task])
    rig.await_begun([task])
    second = rig.runner()
    [attached] = again(rig, [task])
    second.attach([attached])
    eventually(lambda: attached.places)
    late = rig.task()
    first.submit([late])
    eventually(lambda: rig.broken)
    rig.open_gate()
    assert attached.returned()[0] == task.run.task_id
    assert late.run.task_id not in rig.begun()


def test_a_dispatcher_that_is_killed_is_followed_by_one_that_loses_nothing_and_starts_nothing_twice(
    rig: WarmRig,
) -> None:
    running, waiting = rig.tasks(3, "wait"), rig.tasks(60)
    dispatcher = rig.dispatcher(3, *running, *waiting)
    rig.await_begun(running)
    dispatcher.kill()
    dispatcher.wait()
    runner = rig.runner(max_workers=3)
    attached = again(rig, [*running, *waiting])
    runner.attach(attached)
    rig.open_gate()
    for task in attached[:3]:
        assert task.returned()[0] == task.run.task_id
    unbegun = [task for task in attached[3:] if not task.outcome().begun]
    anew = again(rig, unbegun)
    runner.submit(anew)
    assert all(task.returned() for task in anew)
    assert sorted(rig.begun()) == sorted(task.run.task_id for task in attached)


def test_a_dispatcher_that_is_killed_again_and_again_while_tasks_flow_loses_none(rig: WarmRig) -> None:
    tasks = rig.tasks(300)
    unfinished = tasks
    for round_number in range(4):
        dispatcher = rig.dispatcher(4, *unfinished)
        rig.await_count(20 * (round_number + 1))
        dispatcher.kill()
        dispatcher.wait()
        # The one that follows learns what became of what was given away, and is killed before it acts on most of it.
        runner = rig.runner(max_workers=4)
        attached = again(rig, unfinished)
        runner.attach(attached)
        outcomes = [task.outcome() for task in attached]
        unfinished = [task for task, outcome in zip(unfinished, outcomes, strict=True) if not outcome.begun]
        runner.close(leave_running=True)
        runner.join(10)
    runner = rig.runner(max_workers=4)
    rest = again(rig, unfinished)
    runner.submit(rest)
    assert all(task.returned() for task in rest)
    assert sorted(rig.begun()) == sorted(task.run.task_id for task in tasks)


def test_an_executor_whose_end_was_said_to_a_dispatcher_that_was_killed_does_not_keep_its_next_life_waiting(
    rig: WarmRig,
) -> None:
    first = rig.runner(max_workers=1)
    task = rig.task()
    first.submit([task])
    assert task.returned()
    first.close(leave_running=True)
    first.join(10)
    # As if another had been shut down, its worker's end been heard, and its own not.
    records = WarmRecords(rig.place.open_store(), rig.framework_id)
    [record] = records.earlier
    info = msgspec.structs.replace(record.info, executor_id=ExecutorId("ended-unheard"))
    records.keep(msgspec.structs.replace(record, info=info, tasks=(), leaving=True))
    records.close()
    second = rig.runner(max_workers=1)
    known, unknown = again(rig, [task])[0], rig.task()
    second.attach([known, unknown])
    assert known.returned() == task.returned()
    assert isinstance(unknown.ending(), Lost)


def kill_executor_of(rig: WarmRig, task: Task) -> None:
    """Kill the main process of the executor that runs a task: the parent of its worker's parent, or its parent."""
    [line] = [line for line in rig.journal.read_text().splitlines() if line.startswith(f"begun {task.run.task_id} ")]
    process = int(line.split()[2])
    while (parent := parent_of(process)) != 1 and b"bundle" in command_of(parent):
        process = parent
    os.kill(process, signal.SIGKILL)


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


def command_of(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()
