"""Second copies of slow tasks."""

from mesolite.frameworks.sparklite.dag.effects import AcceptResult, CancelTask, DropResult, LaunchTask
from mesolite.frameworks.sparklite.dag.settings import DagSettings
from tests.unit.sparklite.dag.scene import Scene, of

SETTINGS = DagSettings(speculation=True, ahead=0)


def slow_scene(**executors: int) -> Scene:
    """Three of four took 1,000 ms; the fourth, task 3, runs on."""
    scene = Scene(SETTINGS, **executors)
    scene.submit(1, scene.result_stage(5, 4))
    for task_id in range(4):
        scene.began(task_id)
    scene.now_ms = 1_000
    for task_id in range(3):
        scene.done(task_id)
    return scene


def test_a_slow_task_gets_a_second_copy_elsewhere() -> None:
    scene = slow_scene(a=2, b=2)
    assert of(LaunchTask, scene.tick(1_500)) == []
    [copy] = of(LaunchTask, scene.tick(1_600))
    assert (copy.partition, copy.speculative, copy.attempt) == (3, True, 1)
    assert copy.executor_id != scene.launched[3].executor_id
    assert of(LaunchTask, scene.tick(9_000)) == [], "one copy is enough"


def test_the_first_copy_wins() -> None:
    scene = slow_scene(a=2, b=2)
    scene.tick(1_600)
    effects = scene.done(4)
    assert of(CancelTask, effects) == [CancelTask(task_id=3)]
    assert of(AcceptResult, effects) == [AcceptResult(job_id=1, index=3, task_id=4)]
    assert scene.done(3) == [DropResult(task_id=3)]
    assert scene.error_of(1) is None


def test_a_copy_that_fails_leaves_the_other() -> None:
    scene = slow_scene(a=2, b=2)
    scene.tick(1_600)
    assert of(LaunchTask, scene.failed(4)) == []
    scene.done(3)
    assert scene.error_of(1) is None


def test_there_is_no_copy_on_the_same_executor() -> None:
    scene = slow_scene(a=4)
    assert of(LaunchTask, scene.tick(9_000)) == []


def test_what_is_not_known_to_have_begun_is_not_slow() -> None:
    scene = Scene(SETTINGS, a=2, b=2)
    scene.submit(1, scene.result_stage(5, 4))
    for task_id in range(3):
        scene.done(task_id)
    assert of(LaunchTask, scene.tick(9_000)) == []


def test_the_core_wants_to_look_while_something_runs() -> None:
    scene = slow_scene(a=2, b=2)
    assert scene.core.next_deadline_ms() == 1_100
    scene.done(3)
    assert scene.core.next_deadline_ms() is None
