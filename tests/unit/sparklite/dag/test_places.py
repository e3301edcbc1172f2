"""Which executor a task goes to, and how long it waits for that."""

from mesolite.frameworks.sparklite.dag.effects import LaunchTask
from mesolite.frameworks.sparklite.dag.events import ExecutorOver
from mesolite.frameworks.sparklite.dag.settings import DagSettings
from tests.unit.sparklite.dag.scene import Scene, launches, of


def kept_at(scene: Scene, agent_id: str, partitions: int) -> None:
    """All partitions of stage 5 are kept by one agent."""
    for partition in range(partitions):
        scene.plan.kept[5, partition] = (agent_id,)


def test_tasks_spread_over_executors() -> None:
    scene = Scene(a=2, b=2, c=1)
    effects = scene.submit(1, scene.result_stage(5, 5))
    assert [executor for _, _, executor in launches(effects)] == ["a", "b", "a", "b", "c"]


def test_a_task_goes_where_its_partition_is_kept() -> None:
    scene = Scene(a=1, b=1)
    scene.plan.kept = {(5, 0): ("B",), (5, 1): ("A",)}
    effects = scene.submit(1, scene.result_stage(5, 2))
    assert sorted(launches(effects)) == [(5, 0, "b"), (5, 1, "a")]
    assert all(each.local for each in of(LaunchTask, effects))


def test_a_task_waits_for_a_worker_there_and_then_goes_anywhere() -> None:
    scene = Scene(DagSettings(locality_wait_ms=3_000, ahead=0), a=1, b=1)
    kept_at(scene, "A", 3)
    assert launches(scene.submit(1, scene.result_stage(5, 3))) == [(5, 0, "a")]
    assert scene.core.next_deadline_ms() == 3_000

    assert launches(scene.tick(2_999)) == []
    [launch] = of(LaunchTask, scene.tick(3_000))
    assert (launch.executor_id, launch.local) == ("b", False)


def test_the_wait_begins_anew_with_each_task_that_finds_its_place() -> None:
    scene = Scene(a=1, b=1)
    kept_at(scene, "A", 3)
    scene.submit(1, scene.result_stage(5, 3))
    scene.now_ms = 2_000
    assert launches(scene.done(0)) == [(5, 1, "a")]
    assert scene.core.next_deadline_ms() == 5_000


def test_nothing_waits_for_an_agent_without_executors() -> None:
    scene = Scene(a=1, b=1)
    kept_at(scene, "elsewhere", 2)
    assert len(launches(scene.submit(1, scene.result_stage(5, 2)))) == 2


def test_nothing_waits_for_an_agent_whose_last_executor_goes() -> None:
    scene = Scene(a=1, b=1)
    kept_at(scene, "A", 3)
    scene.submit(1, scene.result_stage(5, 3))
    effects = scene.apply(ExecutorOver(now_ms=0, executor_id="a", reason="idle"))
    assert launches(effects) == [(5, 1, "b")]


def test_what_waits_leaves_the_worker_to_the_next_job() -> None:
    scene = Scene(a=1, b=1)
    kept_at(scene, "A", 2)
    scene.submit(1, scene.result_stage(5, 2))
    assert launches(scene.submit(2, scene.result_stage(6, 1))) == [(6, 0, "b")]


def test_a_reader_goes_where_most_of_its_input_is_if_a_worker_is_idle_there() -> None:
    scene = Scene(a=1, b=1)
    scene.map_stage(1, 2)
    scene.submit(1, scene.result_stage(5, 2, 1))
    scene.done(0, sizes=(10, 900))
    assert launches(scene.done(1, sizes=(900, 10))) == [(5, 1, "a"), (5, 0, "b")]


def test_a_reader_does_not_wait_for_a_place() -> None:
    """Method: all input is at the one agent; the other's worker takes its share at once."""
    scene = Scene(a=1)
    scene.map_stage(1, 1)
    scene.submit(1, scene.result_stage(5, 2, 1))
    scene.executor("b", 1)
    effects = scene.done(0, sizes=(100, 100))
    assert [(each.executor_id, each.local) for each in of(LaunchTask, effects)] == [("a", True), ("b", False)]
