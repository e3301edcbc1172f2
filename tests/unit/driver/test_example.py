"""The example framework of the README does what it says."""

import random

from mesolite.frameworks import SchedulerDriver
from mesolite.frameworks.examples.forty_lines import COPIES, SHAPE, KeepRunning
from mesolite.ids import TaskId
from mesolite.protocol import (
    Accept,
    Decline,
    Demand,
    EventBatch,
    Offers,
    SetDemand,
    Subscribed,
    TaskState,
    Update,
)
from tests.unit.driver.workbench import FRAMEWORK, SESSION, offer, status


def test_the_example_keeps_its_copies_running() -> None:
    scheduler = KeepRunning("sleep 60")
    driver = SchedulerDriver(scheduler, FRAMEWORK, session=SESSION, rng=random.Random(1))

    def hear(number: int, *events: Subscribed | Offers | Update) -> list[object]:
        batch = EventBatch(session=SESSION, epoch=1, number=number, events=events)
        return [call for sent in driver.step(1000, [batch]) for call in sent.calls]

    driver.step(1000)
    assert hear(1, Subscribed(FRAMEWORK.framework_id, 5000)) == [SetDemand((Demand("*", SHAPE, COPIES),))]
    calls = hear(2, Offers((offer("offer-1"), offer("offer-2", agent="agent-2"))))
    [accept] = [call for call in calls if isinstance(call, Accept)]
    tasks = [task for operation in accept.operations for task in operation.task_infos]
    assert len(tasks) == COPIES
    assert [call.offer_ids for call in calls if isinstance(call, Decline)] == [("offer-2",)]
    assert calls[-1] == SetDemand(())
    lost = TaskId(tasks[0].task_id)
    calls = hear(3, Update(status(lost, TaskState.FAILED)))
    assert SetDemand((Demand("*", SHAPE, 1),)) in calls
    assert scheduler.alive == {task.task_id for task in tasks[1:]}
