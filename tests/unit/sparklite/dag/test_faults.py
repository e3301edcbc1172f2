"""What follows when tasks fail, executors and agents go, and outputs cannot be read."""

import pytest

from mesolite.frameworks.sparklite.dag.effects import (
    AcceptOutput,
    AcceptResult,
    CancelTask,
    DropResult,
    LaunchTask,
    StageEnded,
    StageStarted,
)
from mesolite.frameworks.sparklite.dag.events import (
    AgentLost,
    AgentReturned,
    ExecutorOver,
    FetchMissed,
    InputMissed,
    TaskSucceeded,
)
from mesolite.frameworks.sparklite.dag.faults import MAX_REFUSALS
from mesolite.frameworks.sparklite.dag.settings import DagSettings
from tests.unit.sparklite.dag.scene import Scene, launches, of


def lose_agent(scene: Scene, agent_id: str) -> list[object]:
    """An agent goes, and its executors with it."""
    effects: list[object] = []
    for executor_id in [each for each, at in scene.agents.items() if at == agent_id]:
        effects += scene.apply(ExecutorOver(now_ms=scene.now_ms, executor_id=executor_id, reason="gone"))
        for task_id in scene.running():
            if scene.launched[task_id].executor_id == executor_id:
                effects += scene.lost(task_id, begun=True)
    return [*effects, *scene.apply(AgentLost(now_ms=scene.now_ms, agent_id=agent_id, reason="gone"))]


# Failures


def test_a_task_is_tried_four_times_and_its_last_error_is_the_cause() -> None:
    scene = Scene(a=1, b=1)
    scene.submit(1, scene.result_stage(5, 1))
    for attempt in range(3):
        [launch] = of(LaunchTask, scene.failed(attempt, f"boom {attempt}"))
        assert launch.attempt == attempt + 1

    scene.failed(3, "boom 3")

    error = scene.error_of(1)
    assert error is not None
    assert str(error.__cause__) == "boom 3"
    for part in ("result 5", "partition 0", "stage 5", "4 times", "host-1", "boom 3"):
        assert part in str(error)


def test_what_is_fatal_is_not_tried_again() -> None:
    scene = Scene(e=2)
    scene.submit(1, scene.result_stage(5, 2))
    effects = scene.failed(0, "too large", fatal=True)
    assert of(CancelTask, effects) == [CancelTask(task_id=1)]
    assert "too large" in str(scene.error_of(1))


def test_failures_of_different_partitions_are_not_added_up() -> None:
    scene = Scene(e=3)
    scene.submit(1, scene.result_stage(5, 3))
    for _ in range(3):
        for task_id in scene.running():
            scene.failed(task_id)
    scene.finish()
    assert scene.error_of(1) is None


def test_a_failed_job_leaves_the_tasks_that_another_needs() -> None:
    scene = Scene(e=4)
    scene.map_stage(1, 2)
    scene.submit(1, scene.result_stage(5, 1, 1))
    scene.plan.kept[5, 0] = ("E",)
    scene.submit(2, scene.result_stage(6, 1))
    scene.submit(3, scene.result_stage(7, 1, 1))
    running = scene.running()
    assert [scene.launched[each].stage_id for each in running] == [1, 1, 6]

    scene.failed(running[2], fatal=True)

    assert of(CancelTask, scene.effects) == []
    scene.finish()
    assert (scene.error_of(1), scene.error_of(3)) == (None, None)


def test_a_failing_shared_stage_fails_each_job_with_an_error_of_its_own() -> None:
    scene = Scene(e=4)
    scene.map_stage(1, 1)
    scene.submit(1, scene.result_stage(5, 1, 1))
    scene.submit(2, scene.result_stage(6, 1, 1))
    scene.failed(0, fatal=True)
    assert scene.error_of(1) is not scene.error_of(2)
    assert str(scene.error_of(1)) == str(scene.error_of(2))


def test_an_executor_on_which_a_partition_failed_twice_gets_no_more_of_the_stage() -> None:
    scene = Scene(a=1)
    scene.submit(1, scene.result_stage(5, 3))
    scene.failed(0)
    assert launches(scene.failed(1)) == [(5, 0, "a")], "there is no other"
    assert launches(scene.executor("b", 1)) == [(5, 1, "b")]
    assert launches(scene.failed(2)) == []
    assert launches(scene.done(3)) == [(5, 0, "b")]


def test_a_map_task_without_an_output_has_failed() -> None:
    scene = Scene(e=1)
    scene.map_stage(1, 1)
    scene.submit(1, scene.result_stage(5, 1, 1))
    effects = scene.apply(TaskSucceeded(now_ms=0, task_id=0, output=None))
    assert of(AcceptOutput, effects) == []
    assert launches(effects) == [(1, 0, "e")]


# Losses


def test_what_was_lost_before_it_began_is_not_counted() -> None:
    scene = Scene(e=1)
    scene.submit(1, scene.result_stage(5, 1))
    for task_id in range(20):
        assert launches(scene.lost(task_id, begun=False)) == [(5, 0, "e")]
    scene.finish()
    assert scene.error_of(1) is None


def test_a_cluster_that_never_begins_a_task_is_not_asked_for_ever() -> None:
    scene = Scene(e=1)
    scene.submit(1, scene.result_stage(5, 1))
    for task_id in range(MAX_REFUSALS):
        scene.lost(task_id, begun=False)
    assert "executor over" in str(scene.error_of(1))


def test_lost_executors_alone_fail_a_job_only_after_twice_as_many() -> None:
    scene = Scene(a=1)
    scene.submit(1, scene.result_stage(5, 1))
    for task_id in range(7):
        assert launches(scene.lost(task_id, begun=True))
    scene.lost(7, begun=True)
    assert "8 times" in str(scene.error_of(1))


def test_a_loss_counts_half_beside_failures() -> None:
    scene = Scene(a=1)
    scene.submit(1, scene.result_stage(5, 1))
    for task_id in range(3):
        scene.failed(task_id)
    scene.lost(3, begun=True)
    scene.lost(4, begun=True)
    assert scene.error_of(1) is not None


def test_outputs_go_with_their_agent_and_are_made_again() -> None:
    scene = Scene(a=1, b=1)
    scene.map_stage(1, 2)
    scene.submit(1, scene.result_stage(5, 2, 1))
    scene.done(0)
    scene.done(1)

    effects = lose_agent(scene, "B")

    assert StageStarted(stage_id=1, job_id=1, attempt=1, tasks=1) in effects
    assert launches(scene.done(2)) == [(1, 1, "a")], "the reader waits"
    scene.finish()
    assert scene.error_of(1) is None


def test_outputs_stay_when_only_their_executor_goes() -> None:
    scene = Scene(a=1, b=1)
    scene.map_stage(1, 2)
    scene.submit(1, scene.result_stage(5, 2, 1))
    scene.done(0)
    scene.apply(ExecutorOver(now_ms=0, executor_id="a", reason="idle"))
    assert launches(scene.done(1)) == [(5, 0, "b")]


def test_an_output_that_comes_from_a_lost_agent_is_not_believed() -> None:
    scene = Scene(a=1, b=1)
    scene.map_stage(1, 2)
    scene.submit(1, scene.result_stage(5, 1, 1))
    scene.apply(AgentLost(now_ms=0, agent_id="B", reason="gone"))
    effects = scene.done(1)
    assert of(DropResult, effects) == [DropResult(task_id=1)]
    assert scene.core.outputs(1) == [None, None]
    assert scene.executor("b2", 1, "B") == [], "nor is an executor there"


def test_an_agent_that_returned_gets_tasks_again() -> None:
    scene = Scene(a=1)
    lose_agent(scene, "A")
    scene.submit(1, scene.result_stage(5, 1))
    assert scene.executor("a2", 1, "A") == []
    assert scene.apply(AgentReturned(now_ms=0, agent_id="A")) == []
    assert launches(scene.executor("a3", 1, "A")) == [(5, 0, "a3")]


def test_lost_outputs_that_nobody_reads_are_made_when_somebody_does() -> None:
    scene = Scene(a=1, b=1)
    scene.map_stage(1, 2)
    scene.map_stage(2, 1, 1)
    scene.submit(1, scene.result_stage(5, 1, 2))
    scene.finish()

    assert of(LaunchTask, lose_agent(scene, "A")) == []
    assert launches(scene.submit(2, scene.result_stage(6, 1, 2))) == [(1, 0, "b")]
    scene.finish()
    assert scene.error_of(2) is None
    remade = [(each.stage_id, each.partition) for each in of(LaunchTask, scene.effects)][-3:]
    assert remade == [(1, 0), (2, 0), (6, 0)], "what is still there is not made again"


def test_a_kept_partition_that_is_gone_when_its_turn_comes_waits_for_its_shuffle() -> None:
    scene = Scene(e=1)
    scene.map_stage(1, 2)
    scene.submit(1, scene.result_stage(9, 1))
    scene.plan.kept[5, 0] = ("E",)
    assert launches(scene.submit(2, scene.result_stage(5, 1, 1))) == []
    del scene.plan.kept[5, 0]
    assert launches(scene.done(0)) == [(1, 0, "e")]
    scene.finish()
    assert scene.error_of(2) is None


# Misses


def test_a_missed_output_is_made_again_and_its_reader_waits() -> None:
    scene = Scene(e=2)
    scene.map_stage(1, 2)
    scene.submit(1, scene.result_stage(5, 2, 1))
    scene.done(0)
    scene.done(1)

    effects = scene.missed(2, 1, 1)

    assert launches(effects) == [(1, 1, "e")]
    assert of(StageStarted, effects) == [StageStarted(stage_id=1, job_id=1, attempt=1, tasks=1)]
    assert launches(scene.done(4)) == [(5, 0, "e")]
    scene.finish()
    assert scene.error_of(1) is None


def test_a_miss_of_what_was_made_anew_changes_nothing() -> None:
    scene = Scene(e=2)
    scene.map_stage(1, 1)
    scene.submit(1, scene.result_stage(5, 2, 1))
    scene.done(0)
    old = FetchMissed(now_ms=0, task_id=2, shuffle_id=1, map_partition=0, block_id="block-0", reason="gone")
    scene.missed(1, 1, 0)
    scene.done(3)

    effects = scene.apply(old)

    assert launches(effects) == [(5, 1, "e")]
    assert scene.core.outputs(1) != [None]


def test_the_second_miss_at_an_agent_gives_up_all_that_it_has() -> None:
    scene = Scene(a=2, b=2)
    scene.map_stage(1, 8)
    scene.submit(1, scene.result_stage(5, 1, 1))
    while scene.launched[scene.running()[0]].stage_id == 1:
        scene.done(scene.running()[0])
    at_a = [
        number for number, each in enumerate(scene.core.outputs(1)) if each is not None and each.block.agent_id == "A"
    ]
    assert len(at_a) > 2

    [reader] = scene.running()
    scene.missed(reader, 1, at_a[0])
    scene.done(scene.running()[0])
    [reader] = scene.running()
    scene.missed(reader, 1, at_a[1])

    assert {number for number, each in enumerate(scene.core.outputs(1)) if each is None} >= set(at_a[1:])
    scene.finish()
    assert scene.error_of(1) is None


def test_a_stage_that_misses_again_and_again_fails() -> None:
    scene = Scene(e=1)
    scene.map_stage(1, 1)
    scene.submit(1, scene.result_stage(5, 1, 1))
    for _ in range(4):
        scene.done(scene.running()[0])
        scene.missed(scene.running()[0], 1, 0)
    assert "4 times in a row" in str(scene.error_of(1))


def test_stores_that_were_emptied_do_not_fail_a_stage_however_many_there_are() -> None:
    """Method: before each retry another agent's outputs are missed; none of them was made again before."""
    scene = Scene(a=1, b=1, c=1, d=1, e=1, f=1)
    scene.map_stage(1, 12)
    scene.submit(1, scene.result_stage(5, 1, 1))
    for task_id in range(12):
        scene.done(task_id)
    for partition in range(12):
        reader = next(each for each in scene.running() if scene.launched[each].stage_id == 5)
        known = scene.core.outputs(1)[partition]
        assert known is not None
        if known.block.block_id == f"block-{partition}":
            scene.missed(reader, 1, partition)
        while scene.launched[scene.running()[0]].stage_id == 1:
            scene.done(scene.running()[0])
    scene.finish()
    assert scene.error_of(1) is None


def test_misses_at_the_same_time_are_one_round() -> None:
    scene = Scene(e=8)
    scene.map_stage(1, 8)
    scene.submit(1, scene.result_stage(5, 8, 1))
    for task_id in range(8):
        scene.done(task_id)
    for partition, task_id in enumerate(range(8, 16)):
        scene.missed(task_id, 1, partition)
    scene.finish()
    assert scene.error_of(1) is None


def test_a_success_between_begins_the_count_of_misses_anew() -> None:
    scene = Scene(e=1)
    scene.map_stage(1, 1)
    scene.submit(1, scene.result_stage(5, 3, 1))
    for _ in range(3):
        for _ in range(3):
            while scene.launched[scene.running()[0]].stage_id == 1:
                scene.done(scene.running()[0])
            scene.missed(scene.running()[0], 1, 0)
        scene.done(scene.running()[0])
        scene.done(scene.running()[0])
    assert scene.error_of(1) is None


def test_a_cancelled_task_still_tells_what_is_missing() -> None:
    scene = Scene(DagSettings(ahead=0, max_failures=1), e=2)
    scene.map_stage(1, 1)
    scene.submit(1, scene.result_stage(5, 2, 1))
    scene.done(0)
    scene.failed(1)
    scene.missed(2, 1, 0)
    assert scene.core.outputs(1) == [None]


@pytest.mark.parametrize(("shuffle_id", "partition"), [(1, 99), (1, -1), (77, 0)])
def test_a_miss_of_what_never_was_is_no_reason_to_go_on_for_ever(shuffle_id: int, partition: int) -> None:
    scene = Scene(e=1)
    scene.map_stage(1, 1)
    scene.submit(1, scene.result_stage(5, 1, 1))
    scene.done(0)
    for _ in range(MAX_REFUSALS):
        event = FetchMissed(
            now_ms=0,
            task_id=scene.running()[0],
            shuffle_id=shuffle_id,
            map_partition=partition,
            block_id="x",
            reason="never heard of",
        )
        scene.apply(event)
    assert "never heard of" in str(scene.error_of(1))


def test_a_missed_input_counts_as_a_failure() -> None:
    scene = Scene(e=1)
    scene.submit(1, scene.result_stage(5, 1))
    for task_id in range(4):
        scene.apply(InputMissed(now_ms=0, task_id=task_id, reason="broadcast 3 is gone"))
    assert "broadcast 3 is gone" in str(scene.error_of(1))


def test_late_and_double_words_change_nothing() -> None:
    scene = Scene(e=1)
    scene.submit(1, scene.result_stage(5, 2))
    assert of(AcceptResult, scene.done(0))
    assert scene.done(0) == [DropResult(task_id=0)]
    assert scene.failed(0) == []
    assert scene.lost(0, begun=True) == []
    assert scene.running() == [1]


def test_a_stage_that_ends_with_its_job_says_so() -> None:
    scene = Scene(e=2)
    scene.map_stage(1, 2)
    scene.submit(1, scene.result_stage(5, 2, 1))
    effects = scene.failed(0, fatal=True)
    assert of(StageEnded, effects) == [StageEnded(stage_id=1, attempt=0, reason="its job failed")]
