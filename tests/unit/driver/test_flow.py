"""Flow control, and the verbs that launch with executors."""

import random
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from mesolite.errors import BadInput
from mesolite.frameworks.driver.driver import SchedulerDriver
from mesolite.frameworks.driver.outbox import weight
from mesolite.frameworks.driver.scheduler import Scheduler
from mesolite.frameworks.driver.settings import CONGESTED_WEIGHT, MAX_BATCH_WEIGHT, RELIEVED_WEIGHT
from mesolite.ids import AgentId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import (
    Accept,
    Call,
    CallBatch,
    CommandInfo,
    Event,
    EventBatch,
    ExecutorInfo,
    HeartbeatEvent,
    LaunchGroupOperation,
    LaunchOperation,
    Message,
    Offer,
    Offers,
    Resubscribe,
    Subscribed,
    TaskInfo,
)
from mesolite.protocol.executor import MAX_EXECUTOR_DATA_BYTES
from mesolite.resources import scalars

from .workbench import FRAMEWORK, INTERVAL_MS, SESSION, offer, task

A, X = AgentId("agent-1"), ExecutorId("x")
EXECUTOR = ExecutorInfo(
    executor_id=X, command=CommandInfo(value="serve"), resources=scalars(cpus=1, mem_mib=64).to_wire()
)


class Listener(Scheduler):
    """Notes what it is told of congestion, and keeps its offers for later."""

    def __init__(self) -> None:
        self.told: list[bool] = []

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        pass

    def congestion(self, driver: SchedulerDriver, congested: bool) -> None:
        self.told.append(congested)


class Line:
    """A driver and a master that hears it late."""

    def __init__(self) -> None:
        self.listener = Listener()
        self.driver = SchedulerDriver(self.listener, FRAMEWORK, session=SESSION, rng=random.Random(1))
        self.number = 0
        self.newest = 0
        self.step()
        self.hear(Subscribed(FrameworkId("batch-17"), INTERVAL_MS))

    def step(self, *batches: EventBatch) -> list[Call]:
        sent: list[CallBatch] = self.driver.step(1000, batches)
        for batch in sent:
            self.newest = batch.number
        self.driver.core.check()
        return [call for batch in sent for call in batch.calls]

    def is_congested(self) -> bool:
        return self.driver.congested

    def hear(self, *events: Event, heard: int = 0, epoch: int = 1) -> list[Call]:
        self.number += 1
        return self.step(EventBatch(session=SESSION, epoch=epoch, number=self.number, events=events, heard=heard))

    def launch(self, number: int, count: int = MAX_BATCH_WEIGHT) -> int:
        """Launch so many tasks on one more offer; returns the number of the batch that carries them."""
        self.hear(Offers((offer(f"offer-{number}"),)))
        tasks = [task(f"task-{number}-{each}") for each in range(count)]
        self.driver.launch([offer(f"offer-{number}").offer_id], tasks)
        self.step()
        return self.newest


def piled_up() -> tuple[Line, list[int]]:
    line = Line()
    numbers = [line.launch(number) for number in range(1 + CONGESTED_WEIGHT // MAX_BATCH_WEIGHT)]
    return line, numbers


def test_a_scheduler_is_told_when_its_calls_pile_up_and_when_half_of_them_are_through() -> None:
    line, numbers = piled_up()
    assert line.is_congested()
    line.step()
    assert line.listener.told == [True]
    line.hear(heard=numbers[1])
    assert line.is_congested(), "not at each step over the edge and back"
    through = next(each for each in numbers if (numbers[-1] - each) * (MAX_BATCH_WEIGHT + 1) <= RELIEVED_WEIGHT)
    line.hear(heard=through)
    assert not line.is_congested()
    assert line.listener.told == [True, False]


def test_a_master_that_hears_keeps_the_way_free() -> None:
    line = Line()
    for number in range(10):
        line.hear(HeartbeatEvent(), heard=line.launch(number))
    assert line.driver.core.flow.outstanding == 0
    assert line.listener.told == []


def test_messages_are_dropped_while_calls_pile_up_and_launches_are_not() -> None:
    line, _ = piled_up()
    line.driver.send_message(A, X, b"hello")
    assert line.step() == []
    line.hear(Offers((offer("last"),)))
    line.driver.launch([offer("last").offer_id], [task("last")])
    assert [type(call) for call in line.step()] == [Accept]


@pytest.mark.parametrize("breaks", [{"epoch": 2}, {"epoch": 1}])
def test_a_broken_subscription_leaves_nothing_outstanding(breaks: dict[str, int]) -> None:
    line, _ = piled_up()
    line.step()
    line.hear(Resubscribe(), **breaks)
    assert not line.is_congested()
    assert line.listener.told == [True, False]


def test_data_weighs_as_much_as_the_tasks_that_would_fit_beside_it() -> None:
    large = replace(task(), data=bytes(MAX_EXECUTOR_DATA_BYTES))
    assert weight(Message(A, X, bytes(MAX_EXECUTOR_DATA_BYTES))) == 257
    assert weight(Accept((), (LaunchOperation((task(), large)),))) == 1 + 2 + 256


def test_a_message_that_nobody_would_pass_on_is_refused_at_once() -> None:
    line = Line()
    with pytest.raises(BadInput, match="a message of 1048577 bytes"):
        line.driver.send_message(A, X, bytes(MAX_EXECUTOR_DATA_BYTES + 1))


def bare(*names: str) -> Sequence[TaskInfo]:
    return [replace(task(name), command=None) for name in names]


def test_an_executor_is_named_once_for_all_tasks_of_a_launch() -> None:
    line = Line()
    line.hear(Offers((offer(),)))
    line.driver.launch([offer().offer_id], bare("t1", "t2"), executor=EXECUTOR)
    (call,) = line.step()
    assert isinstance(call, Accept)
    assert call.operations == (LaunchOperation(tuple(bare("t1", "t2")), EXECUTOR),)
    assert set(line.driver.core.tasks) == {TaskId("t1"), TaskId("t2")}


def test_a_group_is_launched_by_one_operation_and_each_of_its_tasks_is_remembered() -> None:
    line = Line()
    line.hear(Offers((offer(),)))
    line.driver.launch_group([offer().offer_id], EXECUTOR, bare("t1", "t2"))
    (call,) = line.step()
    assert isinstance(call, Accept)
    assert call.operations == (LaunchGroupOperation(EXECUTOR, tuple(bare("t1", "t2"))),)
    assert set(line.driver.core.tasks) == {TaskId("t1"), TaskId("t2")}
    with pytest.raises(BadInput, match="t1 is in use"):
        line.driver.launch_group([offer().offer_id], EXECUTOR, bare("t1"))
