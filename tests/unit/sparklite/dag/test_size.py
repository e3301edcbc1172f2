"""Large stages: the cost of an event does not grow with them."""

import time

import pytest

from mesolite.frameworks.sparklite.dag.effects import CancelTask
from mesolite.frameworks.sparklite.dag.events import JobsCancelled
from mesolite.frameworks.sparklite.dag.settings import DagSettings
from tests.unit.sparklite.dag.scene import Scene, of

#: Of this process, whatever else runs. A cost that grows with the stage would take hours.
LIMIT_S = 30


@pytest.mark.parametrize(("tasks", "kept"), [(100_000, False), (30_000, True)])
def test_a_hundred_thousand_tasks_go_through_in_seconds(tasks: int, kept: bool) -> None:
    scene = Scene(DagSettings(ahead=1, speculation=True), **{f"e{number}": 4 for number in range(50)})
    scene.checks = False
    if kept:
        scene.plan.kept = {(5, number): (f"E{number % 50}",) for number in range(tasks)}
    began = time.process_time()
    scene.submit(1, scene.result_stage(5, tasks))
    for task_id in range(tasks):
        scene.done(task_id)
    assert scene.error_of(1) is None
    assert time.process_time() - began < LIMIT_S


def test_a_large_job_is_cancelled_at_once() -> None:
    scene = Scene(e=1_000)
    scene.checks = False
    scene.submit(1, scene.result_stage(5, 100_000))
    effects = scene.apply(JobsCancelled(now_ms=0, job_ids=(1,), reason="enough"))
    assert len(of(CancelTask, effects)) == 1_000
