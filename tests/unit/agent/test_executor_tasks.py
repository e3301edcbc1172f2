"""What becomes of tasks under an executor: its updates on their way to the framework, kills, time limits."""

import pytest

from mesolite.agent.effects import Checkpoint, HangUp, Refusal
from mesolite.agent.lifecycle import Phase
from mesolite.agent.settings import MAX_PENDING_UPDATES, MAX_UPDATE_IDS
from mesolite.ids import TaskId
from mesolite.protocol import (
    ExecutorError,
    ExecutorKill,
    ExecutorUpdate,
    Reason,
    Source,
    TaskState,
)

from .world import AGENT, FRAMEWORK, World, said, under

S = TaskState


def phase(world: World, name: str) -> Phase:
    return world.core.book.tasks[FRAMEWORK, TaskId(name)].phase


def kills_told(world: World) -> list[ExecutorKill]:
    return [event for event in world.told() if isinstance(event, ExecutorKill)]


def test_an_update_travels_as_the_executor_said_it() -> None:
    world = World()
    executor = world.subscribed("t")
    world.speak(executor, said("t", S.FINISHED, data=b"42", message="done", timestamp_ms=world.now_ms - 5))
    (update,) = world.updates("t")
    status = update.status
    assert (status.state, status.source, status.data, status.message) == (S.FINISHED, Source.EXECUTOR, b"42", "done")
    assert (status.agent_id, status.executor_id, status.timestamp_ms) == (AGENT, "e", world.now_ms - 5)
    assert status.container_status is not None
    assert (status.container_status.container_id, status.container_status.mem_limit_mib) == (executor.container_id, 96)
    assert status.uuid is not None
    assert world.core.book.ledger.held["cpus"] == 100, "the task's share is free again, the executor's is not"


@pytest.mark.parametrize("timestamp_ms", [0, -1, 2**63, 10**30])
def test_a_time_that_cannot_be_is_replaced(timestamp_ms: int) -> None:
    world = World()
    executor = world.subscribed("t")
    world.speak(executor, said("t", S.RUNNING, timestamp_ms=timestamp_ms))
    assert world.word("t").timestamp_ms == world.now_ms


def test_updates_are_acknowledged_to_the_executor_when_they_are_on_disk_and_sent_one_at_a_time() -> None:
    world = World()
    executor = world.subscribed("t")
    effects = world.speak(executor, said("t", S.STARTING), said("t", S.RUNNING), said("t", S.FINISHED))
    assert isinstance(effects[0], Checkpoint)
    assert world.acknowledged() == [("t", "STARTING"), ("t", "RUNNING"), ("t", "FINISHED")]
    assert world.states("t") == [S.STARTING]
    world.acknowledge_all("t")
    assert world.states("t") == [S.STARTING, S.RUNNING, S.FINISHED]
    assert world.core.book.tasks == {}


def test_an_update_that_comes_twice_is_acknowledged_twice_and_sent_once() -> None:
    world = World()
    executor = world.subscribed("t")
    world.speak(executor, said("t", S.RUNNING))
    world.subscribe(executor, said("t", S.RUNNING))
    world.speak(executor, said("t", S.RUNNING, "another"))
    assert world.acknowledged() == [("t", "RUNNING"), ("t", "RUNNING"), ("t", "another")]
    world.acknowledge_all("t")
    assert world.states("t") == [S.RUNNING, S.RUNNING]


def test_a_last_word_that_comes_again_is_acknowledged_and_nothing_else() -> None:
    world = World()
    executor = world.subscribed("t")
    world.speak(executor, said("t", S.FINISHED))
    world.subscribe(executor, said("t", S.FINISHED))
    world.acknowledge_all("t")
    world.subscribe(executor, said("t", S.FINISHED))
    assert world.acknowledged() == [("t", "FINISHED")] * 3
    assert world.states("t") == [S.FINISHED]
    assert kills_told(world) == []


def test_a_word_about_a_task_that_is_over_or_unknown_is_acknowledged_and_the_task_is_ended() -> None:
    world = World()
    executor = world.subscribed("t")
    world.speak(executor, said("t", S.FINISHED), said("t", S.RUNNING), said("stranger", S.RUNNING))
    assert world.acknowledged() == [("t", "FINISHED"), ("t", "RUNNING"), ("stranger", "RUNNING")]
    assert kills_told(world) == [ExecutorKill(TaskId("t"), 0), ExecutorKill(TaskId("stranger"), 0)]
    assert world.refusals() == [Refusal.UNKNOWN_TASK] * 2


def test_an_executor_cannot_speak_of_a_task_that_it_was_not_told() -> None:
    world = World()
    executor = world.subscribed("t")
    world.hang_up(executor)
    world.command(under("u"))
    world.subscribe(executor, said("u", S.FINISHED), tasks=["t"])
    assert world.refusals() == [Refusal.UNKNOWN_TASK]
    assert phase(world, "u") is Phase.SENT


@pytest.mark.parametrize(
    "update",
    [
        said("t", S.STAGING),
        said("t", S.GONE),
        said("t", S.UNREACHABLE),
        ExecutorUpdate(task_id=TaskId("t"), state=S.RUNNING, update_id=""),
        said("t", S.RUNNING, "x" * 65),
        said("t", S.RUNNING, "a\nb"),
        said("t", S.FINISHED, data=b"x" * (1024 * 1024 + 1)),
    ],
)
def test_an_update_that_no_executor_may_send_ends_its_connection(update: ExecutorUpdate) -> None:
    world = World()
    executor = world.subscribed("t")
    world.speak(executor, said("t", S.RUNNING, "good"), update)
    assert world.states("t") == [], "nothing of what came with it is taken: it comes again"
    assert isinstance(world.told()[-1], ExecutorError)
    assert len(world.done(HangUp)) == 1
    assert world.refusals() == [Refusal.EXECUTOR_FAULT]
    world.speak(executor, said("t", S.RUNNING, "late"))
    assert world.states("t") == [], "it was hung up on"
    world.subscribe(executor, update)
    assert not executor.connected, "a subscription that cannot be taken is none"


def test_a_chatty_task_keeps_its_newest_words_and_its_last() -> None:
    world = World()
    executor = world.subscribed("t")
    for number in range(3 * MAX_UPDATE_IDS):
        world.speak(executor, said("t", S.RUNNING, f"u{number}", message=str(number)))
    task = world.core.book.tasks[FRAMEWORK, TaskId("t")]
    assert len(task.pending) == MAX_PENDING_UPDATES
    assert task.pending[-1].message == str(3 * MAX_UPDATE_IDS - 1)
    assert len(task.update_ids) == MAX_UPDATE_IDS
    world.speak(executor, said("t", S.FINISHED))
    world.acknowledge_all("t")
    assert world.states("t")[-1] is S.FINISHED
    assert world.core.book.tasks == {}


def test_a_message_of_any_length_is_cut() -> None:
    world = World()
    executor = world.subscribed("t")
    world.speak(executor, said("t", S.FAILED, message="x" * 1_000_000))
    assert len(world.word("t").message) < 20_000


# -- kills


def test_a_task_that_its_executor_was_not_told_is_killed_at_once() -> None:
    world = World()
    world.command(under("t", "u", launch=True))
    world.kill("t")
    status = world.word("t")
    assert (status.state, status.reason, status.source) == (
        S.KILLED,
        Reason.TASK_KILLED_DURING_LAUNCH,
        Source.AGENT,
    )
    assert world.core.book.ledger.held["cpus"] == 600
    executor = world.executor()
    world.started(executor.container_id)
    world.subscribe(executor)
    assert world.told_tasks() == ["u"]


def test_a_kill_is_told_and_the_executor_has_the_last_word() -> None:
    world = World()
    executor = world.subscribed("t")
    world.kill("t", 700)
    world.kill("t", 9000)
    world.kill("t", 70)
    assert [kill.grace_ms for kill in kills_told(world)] == [700, 700, 70], "a later kill may hasten the end only"
    assert world.states("t") == []
    world.speak(executor, said("t", S.KILLING), said("t", S.KILLED))
    world.acknowledge_all("t")
    assert world.states("t") == [S.KILLING, S.KILLED]


def test_a_task_that_finished_while_its_kill_was_on_its_way_has_finished() -> None:
    world = World()
    executor = world.subscribed("t")
    world.kill("t")
    world.speak(executor, said("t", S.FINISHED, data=b"result"))
    assert (world.word("t").state, world.word("t").data) == (S.FINISHED, b"result")
    world.kill("t")
    assert world.refusals() == []


def test_a_kill_of_a_task_whose_launch_got_lost_ends_it() -> None:
    world = World()
    executor = world.subscribed("t")
    world.kill("t")
    world.subscribe(executor)
    assert world.word("t").state is S.KILLED


# -- time limits


def test_a_task_that_runs_too_long_is_killed_and_has_failed() -> None:
    world = World()
    executor = world.subscribed("other")
    world.command(under("t", limit_ms=2000))
    world.speak(executor, said("t", S.RUNNING))
    world.tick(1999)
    assert kills_told(world) == []
    world.tick(1)
    assert kills_told(world) == [ExecutorKill(TaskId("t"), 3000)]
    world.speak(executor, said("t", S.KILLED))
    status = world.word("t")
    assert (status.state, status.reason) == (S.FAILED, Reason.MAX_COMPLETION_TIME_REACHED)


def test_a_limit_counts_from_when_the_executor_was_told() -> None:
    world = World()
    world.command(under("t", launch=True, limit_ms=2000))
    executor = world.executor()
    world.started(executor.container_id)
    world.tick(5000)
    world.subscribe(executor)
    assert kills_told(world) == []
    world.tick(2000)
    assert kills_told(world) == [ExecutorKill(TaskId("t"), 3000)]
    world.exited(executor.container_id, 1)
    assert world.word("t").reason is Reason.MAX_COMPLETION_TIME_REACHED


def test_a_task_that_finished_at_its_limit_has_finished() -> None:
    world = World()
    executor = world.subscribed("other")
    world.command(under("t", limit_ms=2000))
    world.tick(2000)
    world.speak(executor, said("t", S.FINISHED))
    assert (world.word("t").state, world.word("t").reason) == (S.FINISHED, None)
