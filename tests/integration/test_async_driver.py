"""The driver on asyncio, against a master of few words over memory."""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from mesolite.errors import BadInput, FrameworkError
from mesolite.frameworks import AsyncSchedulerDriver, SchedulerDriver
from mesolite.frameworks.driver import DeliverError, DeliverOffers, DeliverSubscribed, DeliverUpdates
from mesolite.ids import AgentId, FrameworkId, OfferId, TaskId
from mesolite.protocol import TERMINAL_STATES, CommandInfo, Demand, FrameworkInfo, Offer, TaskInfo, TaskState
from mesolite.resources import scalars
from mesolite.transport import MemoryBroker, MemoryStore, Store
from tests.integration.dumb_cluster import MasterThread
from tests.waiting import eventually

FRAMEWORK = FrameworkInfo(framework_id=FrameworkId("async-test"), name="async-test")
SHAPE = scalars(cpus=1, mem_mib=10)
WITHIN_S = 20


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def master(broker: MemoryBroker) -> Iterator[MasterThread]:
    with MasterThread(lambda: MemoryStore(broker)) as running:
        yield running


def driver_on(broker: MemoryBroker, *known: tuple[TaskId, AgentId | None]) -> AsyncSchedulerDriver:
    def open_one() -> Store:
        return MemoryStore(broker)

    return AsyncSchedulerDriver(FRAMEWORK, open_one, known_tasks=known)


def task_on(offer: Offer) -> TaskInfo:
    return TaskInfo(
        task_id=TaskId("task-1"),
        agent_id=offer.agent_id,
        resources=SHAPE.allocated_to("*").to_wire(),
        command=CommandInfo(value="true"),
    )


async def run_one_task(broker: MemoryBroker) -> list[TaskState]:
    """Launch one task on the first offer, and see it to its end."""
    seen: list[TaskState] = []
    async with driver_on(broker) as driver:
        async for event in driver.events():
            match event:
                case DeliverSubscribed():
                    await driver.do(lambda verbs: verbs.set_demand([Demand("*", SHAPE.to_wire(), 1)]))
                case DeliverOffers() if not seen:
                    offer = event.offers[0]
                    seen.append(TaskState.STAGING)
                    await driver.do(
                        lambda verbs, offer=offer: verbs.launch([offer.offer_id], [task_on(offer)])  # type: ignore[misc]
                    )
                case DeliverUpdates():
                    seen += [status.state for status in event.statuses]
                case _:
                    pass
            if seen and seen[-1] in {TaskState.FINISHED, TaskState.FAILED}:
                await driver.do(SchedulerDriver.teardown)
                break
    return seen


def launch_on(offer: Offer, verbs: SchedulerDriver) -> None:
    """Launch the task on an offer."""
    verbs.launch([offer.offer_id], [task_on(offer)])


async def launch_and_die(broker: MemoryBroker) -> AgentId:
    """Launch one task, and let go without having heard of it. Returns where it went."""
    async with driver_on(broker) as driver:
        async for event in driver.events():
            match event:
                case DeliverSubscribed():
                    await driver.do(lambda verbs: verbs.set_demand([Demand("*", SHAPE.to_wire(), 1)]))
                case DeliverOffers():
                    offer = event.offers[0]
                    await driver.do(partial(launch_on, offer))
                    return offer.agent_id
                case _:
                    pass
    raise AssertionError("it ended without an offer")


async def ends_of(broker: MemoryBroker, *known: tuple[TaskId, AgentId | None]) -> dict[str, TaskState]:
    """Take over, and listen until each known task has ended."""
    ends: dict[str, TaskState] = {}
    async with driver_on(broker, *known) as driver:
        async for event in driver.events():
            if isinstance(event, DeliverUpdates):
                ends.update((each.task_id, each.state) for each in event.statuses if each.state in TERMINAL_STATES)
            if len(ends) == len(known):
                await driver.do(SchedulerDriver.teardown)
                break
    return ends


def test_a_program_that_starts_again_hears_what_became_of_the_tasks_it_knows(
    broker: MemoryBroker, master: MasterThread
) -> None:
    """One was launched and nothing of it was heard; the launch of the other died with the program."""

    async def two_lives() -> dict[str, TaskState]:
        agent_id = await launch_and_die(broker)
        return await ends_of(broker, (TaskId("task-1"), agent_id), (TaskId("ghost"), None))

    ends = asyncio.run(asyncio.wait_for(two_lives(), WITHIN_S))
    assert ends["task-1"] in {TaskState.FINISHED, TaskState.FAILED}
    assert ends["ghost"] is TaskState.GONE
    eventually(lambda: FRAMEWORK.framework_id in master.torn_down)


def test_a_task_is_launched_seen_to_its_end_and_the_framework_torn_down(
    broker: MemoryBroker, master: MasterThread
) -> None:
    seen = asyncio.run(asyncio.wait_for(run_one_task(broker), WITHIN_S))
    assert seen[:2] == [TaskState.STAGING, TaskState.RUNNING], "each word is heard once and only then the next"
    assert len(seen) == 3


async def ask_for_nonsense(broker: MemoryBroker) -> None:
    async with driver_on(broker) as driver:
        await driver.do(lambda verbs: verbs.accept([], []))


def test_a_verb_that_makes_no_sense_raises_where_it_was_awaited(broker: MemoryBroker, master: MasterThread) -> None:
    with pytest.raises(BadInput, match="at least one offer"):
        asyncio.run(asyncio.wait_for(ask_for_nonsense(broker), WITHIN_S))


async def be_refused(broker: MemoryBroker) -> str:
    async with driver_on(broker) as driver:
        events = [event async for event in driver.events()]
        with pytest.raises(FrameworkError):
            await driver.do(lambda verbs: verbs.decline([OfferId("any")]))
    assert isinstance(events[-1], DeliverError)
    return events[-1].message


def test_the_events_end_when_the_master_refuses_the_framework(broker: MemoryBroker, master: MasterThread) -> None:
    master.refuse.set()
    assert asyncio.run(asyncio.wait_for(be_refused(broker), WITHIN_S)) == "no such role"
