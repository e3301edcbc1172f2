"""Jobs without faults: which stages run, in which order, and what counts."""

import pytest

from mesolite.frameworks.sparklite.dag.effects import (
    AcceptOutput,
    AcceptResult,
    CancelTask,
    DropResult,
    JobEnded,
    LaunchTask,
    StageEnded,
    StageSkipped,
    StageStarted,
    WantWorkers,
)
from mesolite.frameworks.sparklite.dag.events import (
    ClusterRefused,
    JobsCancelled,
    ShufflesForgotten,
    TaskFailed,
    TaskSucceeded,
)
from mesolite.frameworks.sparklite.dag.settings import DagSettings
from mesolite.frameworks.sparklite.errors import JobCancelled, TaskError
from tests.unit.sparklite.dag.scene import Scene, launches, of


def test_a_job_of_one_stage_runs_its_partitions_and_ends() -> None:
    scene = Scene(e=2)

    effects = scene.submit(1, scene.result_stage(5, 2))

    assert launches(effects) == [(5, 0, "e"), (5, 1, "e")]
    assert of(StageStarted, effects) == [StageStarted(stage_id=5, job_id=1, attempt=0, tasks=2)]
    assert of(AcceptResult, scene.done(1)) == [AcceptResult(job_id=1, index=1, task_id=1)]
    assert scene.done(0) == [
        AcceptResult(job_id=1, index=0, task_id=0),
        StageEnded(stage_id=5, attempt=0),
        JobEnded(job_id=1, error=None),
        WantWorkers(tasks=0),
    ]


def test_results_are_by_their_place_in_the_partitions_asked_for() -> None:
    scene = Scene(e=3)
    effects = scene.submit(1, scene.result_stage(5, 9), partitions=[7, 2, 7])
    assert [each.partition for each in of(LaunchTask, effects)] == [7, 2, 7]
    assert of(AcceptResult, scene.done(2)) == [AcceptResult(job_id=1, index=2, task_id=2)]


def test_a_job_of_no_partitions_ends_at_once() -> None:
    scene = Scene(e=1)
    assert JobEnded(job_id=1, error=None) in scene.submit(1, scene.result_stage(5, 3), partitions=[])


def test_a_shuffle_without_map_partitions_is_complete() -> None:
    scene = Scene(e=1)
    scene.map_stage(1, 0)
    assert launches(scene.submit(1, scene.result_stage(5, 1, 1))) == [(5, 0, "e")]


def test_readers_start_when_the_last_map_output_is_there() -> None:
    scene = Scene(e=4)
    scene.map_stage(1, 2)
    assert launches(scene.submit(1, scene.result_stage(5, 2, 1))) == [(1, 0, "e"), (1, 1, "e")]

    first = scene.done(0)
    assert of(AcceptOutput, first) == [AcceptOutput(shuffle_id=1, partition=0, task_id=0)]
    assert launches(first) == []
    assert launches(scene.done(1)) == [(5, 0, "e"), (5, 1, "e")]


def test_a_later_job_skips_what_is_there() -> None:
    scene = Scene(e=2)
    scene.map_stage(1, 2)
    scene.submit(1, scene.result_stage(5, 2, 1))
    scene.finish()

    effects = scene.submit(2, scene.result_stage(6, 2, 1))

    assert of(StageSkipped, effects) == [StageSkipped(stage_id=1, job_id=2)]
    assert launches(effects) == [(6, 0, "e"), (6, 1, "e")]


def test_stages_behind_complete_ones_are_not_looked_at() -> None:
    """Method: forget the first shuffle of a chain; nothing needs it while the second is there."""
    scene = Scene(e=2)
    scene.map_stage(1, 2)
    scene.map_stage(2, 2, 1)
    scene.submit(1, scene.result_stage(5, 2, 2))
    scene.finish()
    scene.apply(ShufflesForgotten(now_ms=0, shuffle_ids=(1,)))

    effects = scene.submit(2, scene.result_stage(6, 2, 2))

    assert {each.stage_id for each in of(StageSkipped, effects)} == {1, 2}
    assert {each.stage_id for each in of(LaunchTask, effects)} == {6}


def test_two_jobs_share_the_run_of_a_stage() -> None:
    scene = Scene(e=4)
    scene.map_stage(1, 2)
    scene.submit(1, scene.result_stage(5, 1, 1))

    assert launches(scene.submit(2, scene.result_stage(6, 1, 1))) == []
    scene.done(0)
    assert launches(scene.done(1)) == [(5, 0, "e"), (6, 0, "e")]


def test_a_shared_stage_outlives_one_of_its_jobs() -> None:
    scene = Scene(e=4)
    scene.map_stage(1, 1)
    scene.map_stage(2, 1, 1)
    scene.submit(1, scene.result_stage(5, 1, 2))
    scene.submit(2, scene.result_stage(6, 1, 2))

    effects = scene.apply(JobsCancelled(now_ms=0, job_ids=(1, 77), reason="enough"))

    assert of(CancelTask, effects) == []
    scene.finish()
    assert isinstance(scene.error_of(1), JobCancelled)
    assert scene.error_of(2) is None


def test_a_diamond_makes_each_shuffle_once() -> None:
    scene = Scene(e=1)
    scene.map_stage(1, 2)
    scene.map_stage(2, 2, 1)
    scene.map_stage(3, 2, 1, 2)
    scene.submit(1, scene.result_stage(5, 2, 2, 3))
    scene.finish()
    assert [(each.stage_id, each.partition) for each in of(LaunchTask, scene.effects)] == [
        (stage_id, partition) for stage_id in (1, 2, 3, 5) for partition in (0, 1)
    ]
    assert scene.error_of(1) is None


def test_a_thousand_shuffles_may_follow_each_other() -> None:
    scene = Scene(e=1)
    scene.checks = False
    scene.map_stage(1, 1)
    for stage_id in range(2, 1_001):
        scene.map_stage(stage_id, 1, stage_id - 1)
    scene.submit(1, scene.result_stage(5_000, 1, 1_000))
    scene.finish()
    assert scene.error_of(1) is None


def test_results_that_nobody_waits_for_are_dropped() -> None:
    scene = Scene(e=2)
    scene.submit(1, scene.result_stage(5, 2))
    effects = scene.apply(JobsCancelled(now_ms=0, job_ids=(1,), reason="enough"))
    assert of(CancelTask, effects) == [CancelTask(task_id=0), CancelTask(task_id=1)]

    assert scene.done(0) == [DropResult(task_id=0)]
    assert scene.apply(TaskSucceeded(now_ms=0, task_id=99, output=None)) == [DropResult(task_id=99)]
    assert scene.apply(TaskFailed(now_ms=0, task_id=1, error=TaskError("killed"))) == []


def test_a_cancelled_task_holds_its_worker_until_its_end_is_known() -> None:
    scene = Scene(e=1)
    scene.submit(1, scene.result_stage(5, 1))
    scene.apply(JobsCancelled(now_ms=0, job_ids=(1,), reason="enough"))
    assert launches(scene.submit(2, scene.result_stage(6, 1))) == []
    assert launches(scene.lost(0, begun=True)) == [(6, 0, "e")]


def test_the_older_job_goes_first_and_the_younger_fills_up() -> None:
    scene = Scene(e=2)
    scene.submit(1, scene.result_stage(5, 3))
    scene.submit(2, scene.result_stage(6, 2))
    assert launches(scene.done(0)) == [(5, 2, "e")]
    assert launches(scene.done(1)) == [(6, 0, "e")]


def test_pools_share_fairly() -> None:
    scene = Scene(DagSettings(fair=True, ahead=0), e=4)
    scene.submit(1, scene.result_stage(5, 9), pool="long")
    scene.submit(2, scene.result_stage(6, 9), pool="short")
    order = [launches(scene.done(task_id))[0][0] for task_id in (0, 1, 2, 3)]
    assert order == [6, 6, 5, 5], "once two of each run, each end makes room for one of its own pool"


def test_where_no_executor_can_be_had_all_jobs_fail() -> None:
    scene = Scene()
    scene.submit(1, scene.result_stage(5, 1))
    scene.submit(2, scene.result_stage(6, 1))
    scene.apply(ClusterRefused(now_ms=0, reason="too small: add agents"))
    assert [str(scene.error_of(job_id)) for job_id in (1, 2)] == ["too small: add agents"] * 2


def test_workers_are_wanted_for_what_runs_and_what_could() -> None:
    scene = Scene(e=1)
    scene.map_stage(1, 3)
    assert of(WantWorkers, scene.submit(1, scene.result_stage(5, 7, 1))) == [WantWorkers(tasks=3)]
    assert of(WantWorkers, scene.done(0)) == [WantWorkers(tasks=2)]
    scene.done(1)
    assert of(WantWorkers, scene.done(2)) == [WantWorkers(tasks=7)]


def test_a_plan_with_a_hole_fails_its_job_and_no_other() -> None:
    scene = Scene(e=2)
    scene.submit(1, scene.result_stage(6, 1))
    scene.submit(2, scene.result_stage(5, 1, 44))
    assert "shuffle 44" in str(scene.error_of(2))
    scene.finish()
    assert scene.error_of(1) is None


def test_a_job_that_is_submitted_twice_runs_once() -> None:
    scene = Scene(e=2)
    stage = scene.result_stage(5, 1)
    scene.submit(1, stage)
    assert scene.submit(1, stage) == []


def test_forgotten_shuffles_stay_as_long_as_a_job_reads_them() -> None:
    scene = Scene(e=1)
    scene.map_stage(1, 1)
    scene.submit(1, scene.result_stage(5, 1, 1))
    scene.apply(ShufflesForgotten(now_ms=0, shuffle_ids=(1, 9)))
    scene.finish()
    assert scene.error_of(1) is None
    assert scene.core.outputs(1) == ()


def test_short_tasks_go_ahead_of_busy_workers_but_not_the_last_ones() -> None:
    scene = Scene(DagSettings(ahead=1), a=1, b=1)
    scene.submit(1, scene.result_stage(5, 8))
    assert launches(scene.effects) == [(5, 0, "a"), (5, 1, "b")], "nothing is known of their time yet"
    scene.now_ms = 20
    assert launches(scene.done(0)) == [(5, 2, "a"), (5, 3, "a"), (5, 4, "b")]
    assert launches(scene.done(1)) == [(5, 5, "b")]
    assert launches(scene.done(2)) == [], "two are left for two workers"


def test_long_tasks_do_not_wait_behind_others() -> None:
    scene = Scene(DagSettings(ahead=1), a=1, b=1)
    scene.submit(1, scene.result_stage(5, 8))
    scene.now_ms = 5_000
    assert launches(scene.done(0)) == [(5, 2, "a")]


@pytest.mark.parametrize("workers", [0, -3])
def test_an_executor_without_workers_gets_nothing(workers: int) -> None:
    scene = Scene(e=workers)
    assert launches(scene.submit(1, scene.result_stage(5, 2))) == []
    assert launches(scene.executor("e", 1)) == [(5, 0, "e")]
