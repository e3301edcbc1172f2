"""Batches that can travel, however much there is to be said."""

from msgspec.structs import replace

from mesolite.ids import AgentId, FrameworkId, OfferId, SessionId, TaskId
from mesolite.master.packing import offer_events, pack, portions
from mesolite.master.settings import MAX_BATCH_BYTES, MAX_UPDATE_BYTES
from mesolite.protocol import (
    MAX_PAYLOAD_BYTES,
    AgentInfo,
    Attribute,
    CommandBatch,
    Event,
    EventBatch,
    FrameworkInfo,
    HeartbeatEvent,
    Offer,
    Offers,
    RegisterAgent,
    RunTask,
    Source,
    StatusUpdate,
    TaskState,
    TaskStatus,
    Update,
    decode_commands,
    encode,
)
from mesolite.protocol.executor import MAX_EXECUTOR_DATA_BYTES

from .world import World, inside, task

F = FrameworkInfo(framework_id=FrameworkId("f"), name="f")


def update(number: int, size: int) -> Update:
    return Update(
        TaskStatus(
            task_id=TaskId(f"t{number}"),
            state=TaskState.FINISHED,
            source=Source.EXECUTOR,
            timestamp_ms=1,
            agent_id=AgentId("a1"),
            uuid=number.to_bytes(16, "big"),
            data=bytes(size),
        )
    )


def test_large_results_travel_in_several_batches_in_their_order() -> None:
    said = [update(number, MAX_EXECUTOR_DATA_BYTES) for number in range(20)]
    parts = list(portions(said))
    assert [event for part in parts for event in part] == said
    for part in parts:
        batch = EventBatch(session=SessionId("s"), epoch=1, number=1, events=part)
        assert len(encode(batch)) <= MAX_PAYLOAD_BYTES
    assert len(parts) == 7, "three of a MiB and a little fit into four"


def test_small_talk_stays_in_one_batch() -> None:
    said = [update(number, 100) for number in range(5000)]
    assert [len(part) for part in portions(said)] == [5000]
    assert list(portions([])) == []


def test_an_event_that_is_too_large_for_its_portion_travels_alone() -> None:
    said: list[Event] = [HeartbeatEvent(), update(1, 2 * MAX_BATCH_BYTES), HeartbeatEvent()]
    assert [len(part) for part in portions(said)] == [1, 1, 1]


def test_offers_with_many_attributes_travel_in_several_events() -> None:
    attributes = tuple(Attribute(name=f"a{n}", text="x" * 60) for n in range(1000))
    offers = [
        Offer(
            offer_id=OfferId(f"1-O{n}"),
            framework_id=F.framework_id,
            agent_id=AgentId(f"a{n}"),
            hostname="h",
            resources=task("t").resources,
            allocation_role="*",
            attributes=attributes,
        )
        for n in range(200)
    ]
    events = offer_events(offers)
    assert [offer for event in events for offer in event.offers] == offers
    for part in portions(events):
        encode(EventBatch(session=SessionId("s"), epoch=1, number=1, events=part))


def test_commands_that_are_too_many_for_one_batch_keep_their_numbers() -> None:
    large = replace(inside("t"), data=bytes(MAX_EXECUTOR_DATA_BYTES))
    commands = tuple(RunTask(framework=F, task=replace(large, task_id=TaskId(f"t{n}"))) for n in range(40))
    batch = CommandBatch(agent_id=AgentId("a1"), session=SessionId("s"), epoch=1, first_number=8, commands=commands)
    parts = [decode_commands(payload) for payload in pack(batch)]
    assert len(parts) > 2
    number = 8
    for part in parts:
        assert part.first_number == number
        number += len(part.commands)
    assert tuple(command for part in parts for command in part.commands) == commands


def test_a_framework_gets_a_flood_of_results_in_numbered_batches() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1", "cpus:40;mem:40960")
    world.launch("f", world.offer("f"), *(inside(f"t{n}") for n in range(20)))
    world.clear()
    said = [update(n, MAX_EXECUTOR_DATA_BYTES) for n in range(20)]
    world.report("a1", *(StatusUpdate(F.framework_id, each.status, each.status.state) for each in said), confirmed=2)
    assert world.told("f", Update) == said
    numbers = [batch.number for batch in world.event_batches["f"]]
    assert numbers == list(range(numbers[0], numbers[0] + 7))
    assert [batch.heard for batch in world.event_batches["f"]] == [2] * 7


def test_an_update_that_no_batch_could_carry_is_set_aside() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), inside("t1"))
    status = update(1, MAX_UPDATE_BYTES + 1).status
    world.report("a1", StatusUpdate(F.framework_id, status, status.state), confirmed=2)
    assert world.told("f", Update) == []
    assert world.set_aside[-1].reason.startswith("StatusUpdate: data and message of 2097153 bytes")


def test_an_agent_whose_attributes_would_fill_every_offer_is_refused() -> None:
    world = World()
    info = AgentInfo(
        agent_id=AgentId("a1"),
        hostname="a1",
        resources=task("t").resources,
        attributes=(Attribute(name="a", text="x" * 70_000),),
    )
    world.report("a1", RegisterAgent(agent_info=info))
    assert world.set_aside[-1].reason.startswith("the attributes are over")


def test_a_framework_whose_description_would_fill_every_launch_is_refused() -> None:
    world = World()
    world.subscribe("f", roles=tuple(f"r{n}{'x' * 1000}" for n in range(300)))
    assert FrameworkId("f") not in world.core.state.frameworks
    assert not world.told("f", Offers)
