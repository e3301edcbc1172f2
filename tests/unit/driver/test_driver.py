"""The driver's face: callbacks in order, verbs that leave with the step, acknowledgements after the callback."""

import random
from collections.abc import Callable, Sequence

import pytest

from mesolite.errors import BadInput
from mesolite.frameworks.driver.driver import SchedulerDriver
from mesolite.frameworks.driver.scheduler import Scheduler
from mesolite.frameworks.driver.settings import DriverSettings
from mesolite.ids import AgentId, ExecutorId, OfferId, TaskId
from mesolite.protocol import (
    Acknowledge,
    Call,
    CallBatch,
    Decline,
    Demand,
    ErrorEvent,
    Event,
    EventBatch,
    Failure,
    FrameworkMessage,
    Kill,
    Offer,
    Offers,
    Reconcile,
    ReconcileTask,
    Rescind,
    Resubscribe,
    Revive,
    SetDemand,
    Shutdown,
    Subscribe,
    Subscribed,
    Suppress,
    TaskState,
    TaskStatus,
    Teardown,
    UnsatisfiableDemand,
    Update,
)
from mesolite.resources import Resource, scalars
from tests.unit.driver.workbench import FRAMEWORK, INTERVAL_MS, SESSION, offer, status, task

Told = Callable[[SchedulerDriver], None]


class Diary(Scheduler):
    """Notes every callback; does what a test wants when told of offers or updates."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.on_offers: Callable[[SchedulerDriver, Sequence[Offer]], None] | None = None
        self.on_update: Callable[[SchedulerDriver, TaskStatus], None] | None = None

    def subscribed(self, driver: SchedulerDriver) -> None:
        self.lines.append("subscribed")

    def disconnected(self, driver: SchedulerDriver) -> None:
        self.lines.append("disconnected")

    def offers(self, driver: SchedulerDriver, offers: Sequence[Offer]) -> None:
        self.lines.append("offers " + " ".join(each.offer_id for each in offers))
        if self.on_offers is not None:
            self.on_offers(driver, offers)

    def rescinded(self, driver: SchedulerDriver, offer_ids: Sequence[OfferId]) -> None:
        self.lines.append("rescinded " + " ".join(offer_ids))

    def status_update(self, driver: SchedulerDriver, status: TaskStatus) -> None:
        self.lines.append(f"{status.task_id} {status.state.name}")
        if self.on_update is not None:
            self.on_update(driver, status)

    def message(self, driver: SchedulerDriver, agent_id: AgentId, executor_id: ExecutorId, data: bytes) -> None:
        self.lines.append(f"message {executor_id} {data!r}")

    def failure(self, driver: SchedulerDriver, failure: Failure) -> None:
        self.lines.append(f"failure {failure.agent_id}")

    def unsatisfiable(self, driver: SchedulerDriver, demand: Demand, largest: Sequence[Resource]) -> None:
        self.lines.append(f"unsatisfiable {demand.count}")

    def wakeup(self, driver: SchedulerDriver) -> None:
        self.lines.append(f"wakeup {driver.now_ms}")

    def error(self, driver: SchedulerDriver, message: str) -> None:
        self.lines.append(f"error {message}")


class Desk:
    """A driver, its scheduler, and a master's numbering."""

    def __init__(self, scheduler: Scheduler | None = None, settings: DriverSettings | None = None) -> None:
        self.diary = Diary()
        self.driver = SchedulerDriver(
            scheduler or self.diary, FRAMEWORK, session=SESSION, rng=random.Random(1), settings=settings
        )
        self.now_ms = 1000
        self.number = 0

    def hear(self, *events: Event) -> list[Call]:
        """Step with one batch."""
        self.number += 1
        batch = EventBatch(session=SESSION, epoch=1, number=self.number, events=events)
        return self.sent(self.driver.step(self.now_ms, [batch]))

    def act(self, *actions: Told) -> list[Call]:
        """Step with actions."""
        return self.sent(self.driver.step(self.now_ms, actions=actions))

    def subscribed(self) -> "Desk":
        """Begin and be confirmed."""
        assert self.act() == [Subscribe(FRAMEWORK)]
        self.hear(Subscribed(FRAMEWORK.framework_id, INTERVAL_MS))
        self.diary.lines.clear()
        return self

    @staticmethod
    def sent(batches: Sequence[CallBatch]) -> list[Call]:
        """All calls of the batches."""
        return [call for batch in batches for call in batch.calls]


def test_every_event_reaches_its_callback_in_order() -> None:
    desk = Desk().subscribed()
    agent, executor = AgentId("agent-1"), ExecutorId("executor-1")
    demand = Demand(role="*", shape=scalars(cpus=99).to_wire(), count=7)
    desk.hear(
        Offers((offer("offer-1"), offer("offer-2"))),
        Update(status()),
        FrameworkMessage(agent, executor, b"hi"),
        Rescind((OfferId("offer-2"),)),
        Failure(agent),
        UnsatisfiableDemand(demand, scalars(cpus=4).to_wire()),
        Resubscribe(),
    )
    assert desk.diary.lines == [
        "offers offer-1 offer-2",
        "task-1 RUNNING",
        "message executor-1 b'hi'",
        "rescinded offer-2",
        "failure agent-1",
        "unsatisfiable 7",
        "rescinded offer-1",
        "disconnected",
    ]
    desk.hear(ErrorEvent("over"))
    assert desk.diary.lines[-1] == "error over"
    assert desk.driver.ended


def test_what_callbacks_want_leaves_with_the_step() -> None:
    desk = Desk().subscribed()
    desk.diary.on_offers = lambda driver, offers: driver.launch([offers[0].offer_id], [task("task-1"), task("task-2")])
    calls = desk.hear(Offers((offer(),)), Update(status("task-9")))
    assert [type(call).__name__ for call in calls] == ["Accept", "Acknowledge"]


def test_an_update_whose_callback_fails_is_not_acknowledged() -> None:
    desk = Desk().subscribed()

    def fail(driver: SchedulerDriver, word: TaskStatus) -> None:
        raise RuntimeError("disk full")

    desk.diary.on_update = fail
    with pytest.raises(RuntimeError, match="disk full"):
        desk.hear(Update(status()))
    assert not [call for call in desk.act() if isinstance(call, Acknowledge)]


def test_with_explicit_acknowledgements_the_scheduler_says_when() -> None:
    desk = Desk(settings=DriverSettings(implicit_acknowledgements=False)).subscribed()
    assert desk.hear(Update(status())) == []
    calls = desk.act(lambda driver: driver.acknowledge([status()]))
    assert [each.uuid for call in calls if isinstance(call, Acknowledge) for each in call.acknowledgements] == [b"u1"]


def test_a_verb_that_makes_no_sense_raises_and_sends_nothing() -> None:
    desk = Desk().subscribed()
    desk.hear(Offers((offer(),)))

    def launch_elsewhere(driver: SchedulerDriver) -> None:
        with pytest.raises(BadInput, match="is for agent agent-9"):
            driver.launch([OfferId("offer-1")], [task(agent="agent-9")])

    assert desk.act(launch_elsewhere) == []


def test_a_launch_on_a_void_offer_comes_back_dropped_after_the_callback_returned() -> None:
    desk = Desk().subscribed()

    def launch(driver: SchedulerDriver) -> None:
        driver.launch([OfferId("gone")], [task()])
        assert desk.diary.lines == []

    desk.act(launch)
    assert desk.driver.next_deadline_ms() == desk.now_ms, "the word about it must not wait"
    desk.act()
    assert desk.diary.lines == ["task-1 DROPPED"]


def test_a_scheduler_that_launches_again_on_every_drop_does_not_hang_the_step() -> None:
    desk = Desk().subscribed()
    launches: list[str] = []

    def again(driver: SchedulerDriver, word: TaskStatus) -> None:
        launches.append(word.task_id)
        driver.launch([OfferId("gone")], [task(f"task-{len(launches) + 1}")])

    desk.diary.on_update = again
    desk.act(lambda driver: driver.launch([OfferId("gone")], [task("task-1")]))
    desk.act()
    desk.act()
    assert launches == ["task-1", "task-2"]


def test_a_new_driver_wants_its_first_step_at_once() -> None:
    desk = Desk()
    assert desk.driver.next_deadline_ms() == 0
    desk.act()
    due = desk.driver.next_deadline_ms()
    assert due is not None
    assert due > desk.now_ms


def test_the_default_scheduler_declines_what_it_is_offered() -> None:
    desk = Desk(scheduler=Scheduler()).subscribed()
    assert desk.hear(Offers((offer("offer-1"), offer("offer-2")))) == [
        Decline((OfferId("offer-1"), OfferId("offer-2")))
    ]


def test_each_verb_makes_its_call() -> None:
    desk = Desk().subscribed()
    agent, executor = AgentId("agent-1"), ExecutorId("executor-1")
    demand = Demand(role="*", shape=scalars(cpus=1).to_wire(), count=1)
    calls = desk.act(
        lambda driver: driver.kill(TaskId("task-1")),
        lambda driver: driver.suppress(["*"]),
        lambda driver: driver.revive(),
        lambda driver: driver.reconcile([ReconcileTask(TaskId("task-2"), agent)]),
        lambda driver: driver.reconcile(),
        lambda driver: driver.send_message(agent, executor, b"hi"),
        lambda driver: driver.shutdown_executor(agent, executor),
        lambda driver: driver.set_demand([demand]),
    )
    assert Kill(TaskId("task-1")) in calls
    assert Suppress(("*",)) in calls
    assert Revive() in calls
    assert Reconcile((ReconcileTask(TaskId("task-2"), agent),)) in calls
    assert Reconcile() in calls
    assert Shutdown(agent, executor) in calls
    assert SetDemand((demand,)) in calls
    assert desk.act(lambda driver: driver.teardown())[0] == Teardown()
    assert desk.driver.leaving
    desk.hear(ErrorEvent("Framework has been removed: torn down"))
    assert desk.driver.ended


def test_the_scheduler_is_woken_once_at_the_earliest_time_it_asked_for() -> None:
    desk = Desk().subscribed()
    desk.act(lambda driver: driver.wake_at(1500), lambda driver: driver.wake_at(1200))
    assert desk.driver.next_deadline_ms() == 1200
    desk.now_ms = 1300
    desk.act()
    desk.now_ms = 1600
    desk.act()
    assert desk.diary.lines == ["wakeup 1300"]


def test_a_scheduler_that_ended_its_framework_is_not_woken() -> None:
    desk = Desk().subscribed()
    desk.act(lambda driver: driver.wake_at(1200), lambda driver: driver.teardown())
    desk.now_ms = 1300
    desk.act()
    assert desk.diary.lines == []


def test_a_scheduler_that_ends_its_framework_in_a_callback_hears_no_more_of_the_same_batch() -> None:
    desk = Desk().subscribed()
    desk.diary.on_update = lambda driver, word: driver.teardown()
    calls = desk.hear(Update(status()), Offers((offer(),)))
    assert desk.diary.lines == ["task-1 RUNNING"]
    assert Teardown() in calls


def test_verbs_in_callbacks_for_what_came_just_before_the_end_do_nothing() -> None:
    """The core knows of the end before the callbacks run; a scheduler cannot know, and must not fail for it."""
    desk = Desk().subscribed()
    desk.diary.on_update = lambda driver, word: driver.kill(word.task_id)
    desk.hear(Update(status()), ErrorEvent("over"))
    assert desk.diary.lines == ["task-1 RUNNING", "error over"]


def test_updates_can_be_taken_many_at_a_time() -> None:
    seen: list[int] = []

    class Bulk(Scheduler):
        def status_updates(self, driver: SchedulerDriver, statuses: Sequence[TaskStatus]) -> None:
            seen.append(len(statuses))

    desk = Desk(scheduler=Bulk()).subscribed()
    calls = desk.hear(*(Update(status(f"task-{n}", TaskState.FINISHED, uuid=n.to_bytes(2))) for n in range(50)))
    assert seen == [50]
    assert [len(call.acknowledgements) for call in calls if isinstance(call, Acknowledge)] == [50]
