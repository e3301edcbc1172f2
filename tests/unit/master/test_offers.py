"""Offers: made, accepted, declined, rescinded, timed out; and never more than there is."""

from mesolite.ids import AgentId, OfferId
from mesolite.master import MasterSettings
from mesolite.master.settings import MIN_REFUSE_MS
from mesolite.protocol import (
    Accept,
    AgentStopping,
    Decline,
    Filters,
    LaunchOperation,
    Offers,
    Reason,
    Rescind,
    Revive,
    RunTask,
    Suppress,
    TaskState,
    Update,
)
from mesolite.resources import Resources

from .world import World, listed, task


def offered(world: World, framework: str) -> str:
    return str(Resources.of(world.offer(framework).resources).unallocated())


def test_a_new_agent_is_offered_whole_to_the_only_framework() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1", "cpus:4;mem:4096")
    assert offered(world, "f") == "cpus:4;mem:4096"
    assert world.core.state.agents[AgentId("a1")].offered.scalar("cpus") == 4000


def test_what_an_accept_leaves_over_is_offered_again_at_once() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1", "cpus:4;mem:4096")
    first = world.offer("f")
    world.launch("f", first, task("t", resources="cpus:1;mem:96"), refuse_ms=0)
    assert offered(world, "f") == "cpus:3;mem:4000"
    assert [command.task.task_id for command in world.commanded("a1", RunTask)] == ["t"]


def test_freed_resources_are_offered_again_in_the_same_batch() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1", "cpus:1;mem:64")
    world.launch("f", world.offer("f"), task("t"))
    world.clear()
    world.update("a1", "f", "t", TaskState.FINISHED)
    assert offered(world, "f") == "cpus:1;mem:64"


def test_declined_resources_stay_away_for_as_long_as_refused() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    offer = world.offer("f")
    world.clear()
    world.call("f", Decline((offer.offer_id,), Filters(refuse_ms=10_000)))
    assert world.told("f", Offers) == []
    world.tick(9_999)
    assert world.told("f", Offers) == []
    world.tick(1)
    assert len(world.told("f", Offers)) == 1


def test_declining_for_no_time_at_all_is_not_asked_again_in_the_same_breath() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    offer = world.offer("f")
    world.clear()
    world.call("f", Decline((offer.offer_id,), Filters(refuse_ms=0)))
    assert world.told("f", Offers) == []
    world.tick(MIN_REFUSE_MS)
    assert len(world.told("f", Offers)) == 1


def test_declined_resources_go_to_another_framework_at_once() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    offer = world.offer("f")
    world.subscribe("g")
    assert world.told("g", Offers) == []
    world.call("f", Decline((offer.offer_id,), Filters(refuse_ms=10_000)))
    assert len(world.told("g", Offers)) == 1


def test_an_offer_held_too_long_is_rescinded() -> None:
    world = World(settings=MasterSettings(offer_timeout_ms=5000))
    world.subscribe("f")
    world.register("a1")
    offer = world.offer("f")
    world.tick(4_999)
    assert world.told("f", Rescind) == []
    world.tick(1)
    assert world.told("f", Rescind) == [Rescind((offer.offer_id,))]


def test_suppress_stops_offers_and_revive_brings_them_back() -> None:
    world = World()
    world.subscribe("f")
    world.call("f", Suppress())
    world.register("a1")
    assert world.told("f", Offers) == []
    world.call("f", Revive())
    assert len(world.told("f", Offers)) == 1


def test_an_accept_of_a_void_offer_drops_its_tasks_and_gives_the_good_offers_back() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1", "cpus:1;mem:64")
    good = world.offer("f")
    world.clear()
    world.call("f", Accept((good.offer_id, OfferId("1-O99")), (LaunchOperation((task("t"),)),), Filters(refuse_ms=0)))
    updates = world.told("f", Update)
    assert [(u.status.state, u.status.reason) for u in updates] == [(TaskState.DROPPED, Reason.INVALID_OFFERS)]
    assert updates[0].status.uuid is None
    assert len(world.told("f", Offers)) == 1, "the good one is offered anew"
    assert world.commanded("a1", RunTask) == []


def test_an_accept_that_was_sent_twice_does_not_drop_its_running_tasks() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    offer = world.offer("f")
    world.launch("f", offer, task("t"))
    world.clear()
    world.launch("f", offer, task("t"))
    assert world.told("f", Update) == []


def test_an_accept_that_an_earlier_master_followed_is_not_answered_before_the_agent_says_what_it_runs() -> None:
    """The append was repeated because its answer got lost, and another master began to lead in between."""
    world = World()
    world.subscribe("f")
    world.register("a1")
    offer = world.offer("f")
    successor = World(epoch=2)
    successor.core.recover(dict(world.registry), successor.now_ms)
    successor.subscribe("f")
    successor.launch("f", offer, task("t"))
    assert successor.told("f", Update) == []
    successor.register("a1", tasks=(listed("f", task("t")),))
    successor.launch("f", offer, task("t"), task("other"))
    assert successor.states("f", "t") == [], "it runs"
    assert successor.states("f", "other") == [TaskState.DROPPED], (
        "the agent does not have it, and refuses the old command"
    )


def test_a_batch_that_was_appended_twice_changes_nothing_the_second_time() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    offer = world.offer("f")
    decline = Decline((offer.offer_id,), Filters(refuse_ms=0))
    world.call("f", decline, number=7)
    world.tick(MIN_REFUSE_MS)
    newer = world.offer("f")
    world.clear()
    world.call("f", Decline((newer.offer_id,), Filters(refuse_ms=0)), number=7)
    assert world.told("f", Offers) == []


def test_each_task_of_a_launch_is_judged_alone() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1", "cpus:4;mem:4096")
    world.launch(
        "f",
        world.offer("f"),
        task("good"),
        task("too-large", resources="cpus:100;mem:64"),
        task("elsewhere", agent="a2"),
        task("also/bad"),
        task("good"),
        task("fine"),
    )
    assert [command.task.task_id for command in world.commanded("a1", RunTask)] == ["good", "fine"]
    refused = {u.status.task_id: u.status for u in world.told("f", Update)}
    assert set(refused) == {"too-large", "elsewhere", "also/bad"}
    assert all(status.state is TaskState.ERROR for status in refused.values())
    assert "cpus:100" in refused["too-large"].message  # type: ignore[index]


def test_the_id_of_an_ended_task_is_not_launched_again() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), task("t"))
    world.update("a1", "f", "t", TaskState.FINISHED)
    world.acknowledge("f", "a1", "t")
    world.clear()
    world.tick(1000)
    world.call("f", Revive())
    world.launch("f", world.core_offer("f"), task("t"))
    assert world.states("f", "t") == [TaskState.ERROR]
    assert world.commanded("a1", RunTask) == []


def test_an_operator_sees_offers_expire_in_order_of_age() -> None:
    world = World(settings=MasterSettings(offer_timeout_ms=5000))
    world.subscribe("f")
    world.register("a1")
    world.tick(3000)
    world.register("a2")
    second = world.offer("f")
    world.tick(2000)
    assert len(world.told("f", Rescind)) == 1
    assert second.offer_id in world.core.state.offers


RIDING = MasterSettings(offer_delay_ms=10)


def launched_once() -> World:
    """A framework that has launched, and is offered the rest of the agent."""
    world = World(settings=RIDING)
    world.subscribe("f")
    world.register("a1", "cpus:2;mem:64")
    first = world.offer("f")
    world.clear()
    world.launch("f", first, task("t", resources="cpus:1;mem:32"), refuse_ms=0)
    return world


def test_what_is_offered_to_one_who_launches_is_told_with_the_next_update() -> None:
    world = launched_once()
    assert world.events.get("f", []) == []
    assert [command.task.task_id for command in world.commanded("a1", RunTask)] == ["t"], "the launch does not wait"
    world.tick(5)
    world.update("a1", "f", "t", TaskState.RUNNING)
    assert [type(event) for event in world.events["f"]] == [Offers, Update]
    assert len(world.event_batches["f"]) == 1


def test_where_nothing_else_is_to_be_told_the_offer_is_when_its_time_is_over() -> None:
    world = launched_once()
    due_ms = world.core.next_deadline_ms()
    assert due_ms == world.now_ms + 10
    world.tick(9)
    assert world.events.get("f", []) == []
    world.tick(1)
    assert offered(world, "f") == "cpus:1;mem:32"
    assert world.core.next_deadline_ms() > due_ms, "nothing waits any more"


def test_who_launches_again_meanwhile_does_not_wait_longer_for_it() -> None:
    world = World(settings=RIDING)
    world.subscribe("f")
    world.register("a1", "cpus:2;mem:64")
    world.register("a2", "cpus:2;mem:64")
    first, second = (offer for event in world.told("f", Offers) for offer in event.offers)
    world.clear()
    world.launch("f", first, task("t", "a1", "cpus:1;mem:32"))
    world.tick(6)
    world.launch("f", second, task("u", "a2", "cpus:1;mem:32"))
    assert world.told("f", Offers) == []
    world.tick(4)
    assert [offer.agent_id for event in world.told("f", Offers) for offer in event.offers] == ["a1", "a2"]


def test_an_offer_that_waits_and_is_rescinded_is_told_of_in_that_order() -> None:
    world = launched_once()
    world.report("a1", AgentStopping())
    assert [type(event) for event in world.events["f"]] == [Offers, Rescind]


def test_who_does_not_launch_is_offered_things_at_once() -> None:
    world = World(settings=RIDING)
    world.subscribe("f")
    world.register("a1", "cpus:1;mem:64")
    assert offered(world, "f") == "cpus:1;mem:64"


def test_who_says_something_else_while_an_offer_waits_is_told_of_it() -> None:
    world = launched_once()
    world.call("f", Revive())
    assert offered(world, "f") == "cpus:1;mem:32"
