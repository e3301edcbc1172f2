"""Stages whose tasks run together."""

from mesolite.frameworks.sparklite.dag.effects import AcceptResult, CancelTask, DropResult, LaunchTask
from mesolite.frameworks.sparklite.dag.events import AgentLost
from tests.unit.sparklite.dag.scene import Scene, launches, of


def test_all_start_together_or_none() -> None:
    scene = Scene(a=2)
    scene.submit(1, scene.result_stage(4, 1))
    assert launches(scene.submit(2, scene.result_stage(5, 2, barrier=True))) == []
    assert launches(scene.done(0)) == [(5, 0, "a"), (5, 1, "a")]


def test_idle_workers_are_saved_up_for_it() -> None:
    scene = Scene(a=2)
    scene.submit(1, scene.result_stage(4, 1))
    scene.submit(2, scene.result_stage(5, 2, barrier=True))
    assert launches(scene.submit(3, scene.result_stage(6, 1))) == []


def test_results_count_when_all_are_through() -> None:
    scene = Scene(a=2)
    scene.submit(1, scene.result_stage(5, 2, barrier=True))
    assert of(AcceptResult, scene.done(1)) == []
    assert of(AcceptResult, scene.done(0)) == [
        AcceptResult(job_id=1, index=0, task_id=0),
        AcceptResult(job_id=1, index=1, task_id=1),
    ]
    assert scene.error_of(1) is None


def test_one_failure_begins_all_anew() -> None:
    scene = Scene(a=3)
    scene.submit(1, scene.result_stage(5, 3, barrier=True))
    scene.done(0)
    effects = scene.failed(1)
    assert of(DropResult, effects) == [DropResult(task_id=0)]
    assert of(CancelTask, effects) == [CancelTask(task_id=2)]
    assert of(LaunchTask, effects) == [], "the cancelled one still holds its worker"
    assert [partition for _, partition, _ in launches(scene.lost(2, begun=True))] == [0, 1, 2]
    scene.finish()
    assert scene.error_of(1) is None


def test_what_was_held_is_dropped_with_its_job() -> None:
    scene = Scene(a=2)
    scene.submit(1, scene.result_stage(5, 2, barrier=True))
    scene.done(0)
    assert of(DropResult, scene.failed(1, fatal=True)) == [DropResult(task_id=0)]


def test_a_cluster_that_stays_too_small_fails_the_job() -> None:
    scene = Scene(a=1)
    scene.submit(1, scene.result_stage(5, 3, barrier=True))
    assert scene.core.next_deadline_ms() == 120_000
    assert launches(scene.submit(2, scene.result_stage(6, 1))) == [(6, 0, "a")], "others go on"
    scene.tick(120_000)
    error = str(scene.error_of(1))
    assert "3 tasks" in error
    assert "1 workers" in error


def test_a_cluster_that_grows_in_time_runs_it() -> None:
    scene = Scene(a=1)
    scene.submit(1, scene.result_stage(5, 3, barrier=True))
    scene.now_ms = 100_000
    assert len(launches(scene.executor("b", 2))) == 3


def test_a_lost_output_of_a_barrier_stage_makes_all_of_them_again() -> None:
    scene = Scene(a=1, b=1)
    scene.map_stage(1, 2, barrier=True)
    scene.submit(1, scene.result_stage(5, 1, 1))
    scene.finish()
    scene.executor("c", 1)
    scene.apply(AgentLost(now_ms=0, agent_id="B", reason="gone"))
    effects = scene.submit(2, scene.result_stage(6, 1, 1))
    assert sorted(partition for _, partition, _ in launches(effects)) == [0, 1]
    scene.finish()
    assert scene.error_of(2) is None
