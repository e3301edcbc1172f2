"""The bond with the master: numbering, epochs, registration, heartbeats."""

from itertools import pairwise

import pytest

from mesolite.agent.checkpoint import MemoryCheckpoint
from mesolite.agent.effects import Checkpoint, Refusal, SendReports, StopAgent
from mesolite.agent.events import CommandsArrived, ProcessStopping, ReportsLost, ShutdownRequested
from mesolite.agent.records import AgentRecord
from mesolite.agent.settings import GAP_REPEAT_MS, MAX_TASKS, REGISTRATION_BACKOFF_CAP_MS, SILENT_HEARTBEATS
from mesolite.ids import AgentId, SessionId
from mesolite.protocol import (
    AgentHeartbeat,
    AgentStopping,
    CommandBatch,
    Registered,
    Reregister,
    ShutdownAgent,
    TaskState,
    UnregisterAgent,
)

from .world import AGENT, HEARTBEAT_MS, World, run


def confirmed(world: World) -> tuple[int, int]:
    """The header of the last report."""
    last = world.done(SendReports)[-1]
    return last.epoch, last.confirmed


# -- numbering


def test_commands_are_confirmed_with_the_number_of_the_last() -> None:
    world = World()
    world.command(run("a"), run("b"))
    assert confirmed(world) == (1, 3)


def test_a_batch_is_confirmed_only_after_it_is_checkpointed() -> None:
    world = World()
    effects = world.command(run("a"))
    assert [type(effect) for effect in effects[:2]] == [Checkpoint, SendReports]


def test_a_batch_that_comes_twice_is_confirmed_again_and_not_carried_out_again() -> None:
    world = World()
    world.command(run("a"), first=2)
    world.clear()
    world.command(run("a"), first=2)
    assert world.launched() == []
    assert world.refusals() == []
    assert confirmed(world) == (1, 2)


def test_of_a_batch_that_overlaps_only_the_new_commands_are_taken() -> None:
    world = World()
    world.command(run("a"), first=2)
    world.clear()
    world.command(run("x"), run("b"), run("c"), first=2)
    assert [spec.labels["mesolite.task_id"] for spec in world.launched()] == ["b", "c"]
    assert confirmed(world) == (1, 4)


def test_a_hole_is_complained_about_once_and_nothing_behind_it_is_taken() -> None:
    world = World()
    world.clear()
    world.command(run("b"), first=3)
    world.command(run("c"), first=4)
    assert world.launched() == []
    (complaint,) = world.done(SendReports)
    assert (complaint.gap, complaint.confirmed) == (True, 1)
    assert world.refusals() == [Refusal.GAP] * 2
    world.now_ms += GAP_REPEAT_MS
    world.command(run("c"), first=4)
    assert [report.gap for report in world.done(SendReports)] == [True, True]


def test_a_hole_that_is_filled_is_forgotten() -> None:
    world = World()
    world.command(run("b"), first=3)
    world.command(run("a"), run("b"), first=2)
    world.clear()
    world.command(run("d"), first=5)
    assert world.done(SendReports)[0].gap


@pytest.mark.parametrize(
    ("agent", "session", "epoch", "first", "refusal"),
    [
        ("other", "life-1", 1, 2, Refusal.WRONG_AGENT),
        ("a1", "life-0", 1, 2, Refusal.WRONG_SESSION),
        ("a1", "life-0", 9, 1, Refusal.WRONG_SESSION),
        ("a1", "life-1", 0, 2, Refusal.OLD_EPOCH),
        ("a1", "life-1", -1, 2, Refusal.OLD_EPOCH),
        ("a1", "life-1", 1, -1, Refusal.BAD_NUMBER),
    ],
)
def test_what_is_not_for_this_life_is_refused_in_silence(
    agent: str, session: str, epoch: int, first: int, refusal: Refusal
) -> None:
    world = World()
    world.clear()
    batch = CommandBatch(
        agent_id=AgentId(agent),
        session=SessionId(session),
        epoch=epoch,
        first_number=first,
        commands=(run("t"),),
    )
    world.apply(CommandsArrived(now_ms=world.now_ms, batch=batch))
    assert world.refusals() == [refusal]
    assert world.done(SendReports) == []
    assert world.core.link.epoch == 1


# -- epochs


def test_a_new_epoch_begins_with_number_one_and_is_kept_on_disk() -> None:
    world = World()
    world.command(run("a"))
    world.epoch = 5
    world.next_number = 1
    world.join()
    assert confirmed(world) == (5, 1)
    (kept,) = [record for record in world.checkpoint.load() if isinstance(record, AgentRecord)]
    assert (kept.agent_id, kept.epoch, kept.boot_id) == (AGENT, 5, "boot-1")


def test_a_deposed_master_starts_nothing_any_more() -> None:
    world = World()
    world.epoch = 5
    world.next_number = 1
    world.join()
    world.clear()
    world.command(run("a"), epoch=1, first=2)
    assert world.launched() == []
    assert world.refusals() == [Refusal.OLD_EPOCH]


def test_the_old_epoch_is_refused_by_the_next_life_too() -> None:
    world = World(epoch=5)
    later = world.next_life(joined=False)
    later.command(run("a"), epoch=4, first=1)
    assert later.refusals() == [Refusal.OLD_EPOCH]


def test_a_new_life_begins_with_number_one_in_the_same_epoch() -> None:
    world = World()
    world.command(run("a"), run("b"))
    later = world.next_life(survivors=[world.container("a"), world.container("b")])
    assert confirmed(later) == (1, 1)


# -- registration


def test_an_agent_registers_at_once_then_with_growing_random_pauses_until_it_is_known() -> None:
    world = World(joined=False)
    sent_ms: list[int] = []
    for _ in range(200):
        due_ms = world.core.next_deadline_ms()
        assert due_ms is not None
        world.now_ms = max(world.now_ms, due_ms)
        world.clear()
        world.tick(random=1.0)
        if world.registrations():
            sent_ms.append(world.now_ms)
        if len(sent_ms) == 9:
            break
    pauses = [later - earlier for earlier, later in pairwise(sent_ms)]
    assert pauses == [min(1000 * 2**power, REGISTRATION_BACKOFF_CAP_MS) for power in range(8)]


def test_a_registered_agent_stops_registering() -> None:
    world = World()
    world.clear()
    for _ in range(20):
        world.tick(HEARTBEAT_MS)
    assert world.registrations() == []
    assert world.reports() == [AgentHeartbeat()] * 20


def test_a_report_stands_for_a_heartbeat() -> None:
    world = World()
    world.tick(HEARTBEAT_MS - 1)
    world.running("t")
    world.clear()
    world.tick(HEARTBEAT_MS - 1)
    assert world.reports() == []
    world.tick(1)
    assert world.reports() == [AgentHeartbeat()]


def test_the_registration_tells_everything() -> None:
    world = World()
    container_id = world.running("done")
    world.acknowledge_all("done")
    world.exited(container_id)
    world.running("running")
    world.launch("staging")
    world.clear()
    world.command(Reregister(), first=0)
    world.tick(1000)
    (registration,) = world.registrations()
    assert [info.framework_id for info in registration.frameworks] == ["f"]
    told = {
        entry.task.task_id: (entry.latest_state, entry.sent_status.state if entry.sent_status else None)
        for entry in registration.tasks
    }
    S = TaskState  # noqa: N806
    assert told == {
        "done": (S.FINISHED, S.FINISHED),
        "running": (S.RUNNING, S.RUNNING),
        "staging": (S.STAGING, None),
    }


def test_a_master_that_asks_is_told_after_a_share_of_the_spread() -> None:
    world = World()
    world.clear()
    world.now_ms += 1000
    world.command(Reregister(spread_ms=10_000), first=0, random=0.7)
    world.tick(6_999)
    assert world.registrations() == []
    world.tick(1)
    assert len(world.registrations()) == 1


def test_a_master_that_asks_often_does_not_put_the_answer_off() -> None:
    world = World()
    world.clear()
    world.now_ms += 1000
    world.command(Reregister(spread_ms=10_000), first=0, random=0.5)
    world.now_ms += 3000
    world.command(Reregister(spread_ms=10_000), first=0, random=0.9)
    world.tick(2000)
    assert len(world.registrations()) == 1


def test_a_new_master_that_spreads_its_agents_is_told_in_this_agents_turn() -> None:
    """Ten thousand agents that hear of a new master in one instant must not answer in one."""
    world = World()
    world.clear()
    world.command(Reregister(spread_ms=10_000), first=0, epoch=2, random=0.7)
    assert world.core.next_deadline_ms() == world.now_ms + 7000
    world.tick(6_999)
    assert world.registrations() == []
    world.tick(1)
    assert len(world.registrations()) == 1


def test_where_many_return_nobody_repeats_a_registration_before_a_time_of_the_order_of_the_spread() -> None:
    world = World()
    world.clear()
    world.command(Reregister(spread_ms=10_000), first=0, epoch=2, random=0.0)
    world.tick(random=0.0)
    assert world.core.next_deadline_ms() == world.now_ms + 5000, "half of it at the least"


def test_a_registration_that_an_earlier_master_was_to_get_does_not_come_before_its_turn_with_a_new_one() -> None:
    world = World(joined=False)
    world.tick()
    world.clear()
    world.command(Reregister(spread_ms=60_000), first=0, epoch=2, random=0.5)
    world.tick(29_999)
    assert world.registrations() == []
    world.tick(1)
    assert len(world.registrations()) == 1


def test_a_redis_that_is_back_makes_nobody_come_before_its_turn() -> None:
    world = World()
    world.command(Reregister(spread_ms=10_000), first=0, epoch=2, random=0.5)
    world.apply(ReportsLost(now_ms=world.now_ms))
    assert world.core.next_deadline_ms() == world.now_ms + 5000
    world.tick(5000, random=1.0)
    world.clear()
    world.apply(ReportsLost(now_ms=world.now_ms))
    world.tick(500)
    assert len(world.registrations()) == 1, "the one that had left may be lost"


def test_a_new_master_that_asks_behind_a_hole_is_told_at_once() -> None:
    """What is behind a hole is not carried out; the epoch alone says enough."""
    world = World()
    world.clear()
    world.command(Reregister(spread_ms=60_000), first=7, epoch=2, random=0.5)
    world.tick()
    assert len(world.registrations()) == 1


def test_an_agent_to_which_nothing_was_said_for_long_finds_out_whether_it_is_heard() -> None:
    world = World(joined=False)
    world.tick(random=0.5)
    world.join()
    world.clear()
    for _ in range(89):
        world.tick(HEARTBEAT_MS)
    assert world.registrations() == []
    world.tick(HEARTBEAT_MS)
    assert len(world.registrations()) == 1
    world.join()
    world.clear()
    world.tick(HEARTBEAT_MS)
    assert world.reports() == [AgentHeartbeat()], "it is heard: all is as before"


def test_whatever_is_said_ends_the_silence() -> None:
    world = World()
    world.clear()
    for _ in range(200):
        world.hear_nothing_new()
        world.tick(HEARTBEAT_MS)
    assert world.registrations() == []


def test_an_agent_without_an_answer_goes_on_asking() -> None:
    world = World()
    world.tick(SILENT_HEARTBEATS * HEARTBEAT_MS * 2)
    world.clear()
    world.tick(60_000)
    assert len(world.registrations()) == 1


# -- which life


def test_each_life_of_a_checkpoint_has_its_number_on_disk_before_it_registers() -> None:
    first = World(joined=False)
    (kept,) = [record for record in first.checkpoint.load() if isinstance(record, AgentRecord)]
    assert (kept.checkpoint_id, kept.incarnation) == ((1).to_bytes(8, "big").hex(), 1)
    first.tick()
    second = first.next_life()
    third = second.next_life()
    told = [
        (each.checkpoint_id, each.incarnation) for world in (first, second, third) for each in world.registrations()
    ]
    assert told == [(kept.checkpoint_id, 1), (kept.checkpoint_id, 2), (kept.checkpoint_id, 3)]


def test_another_checkpoint_has_another_name() -> None:
    one, other = World(life=1), World(life=2)
    assert one.registrations()[0].checkpoint_id != other.registrations()[0].checkpoint_id


def test_a_checkpoint_of_an_earlier_version_gets_a_name() -> None:
    checkpoint = MemoryCheckpoint()
    checkpoint.save([AgentRecord(AGENT, 3, "boot-1")])
    world = World(checkpoint=checkpoint, epoch=3, life=9)
    (registration,) = world.registrations()
    assert (registration.checkpoint_id, registration.incarnation) == ((9).to_bytes(8, "big").hex(), 1)


def test_asking_does_not_move_the_numbering() -> None:
    world = World()
    world.command(run("a"))
    world.command(Reregister(), first=0)
    world.command(Registered(HEARTBEAT_MS), first=3)
    assert confirmed(world) == (1, 3)


def test_only_requests_to_register_or_stop_come_outside_the_numbering() -> None:
    world = World()
    world.command(run("a"), first=0)
    assert world.launched() == []
    assert world.refusals() == [Refusal.NOT_NUMBERED]


def test_a_nonsense_heartbeat_interval_makes_no_busy_loop() -> None:
    world = World()
    world.command(Registered(-1))
    world.clear()
    due_ms = world.core.next_deadline_ms()
    assert due_ms is not None
    assert due_ms > world.now_ms


# -- leaving


def test_an_agent_that_is_told_to_stop_ends_its_tasks_first() -> None:
    world = World()
    container_id = world.running("t")
    world.command(ShutdownAgent("gone"))
    world.command(run("late"))
    assert world.kills() == [(container_id, 3000)]
    assert world.done(StopAgent) == []
    world.exited(container_id, 143)
    assert world.done(StopAgent) == [StopAgent(message="gone")]
    assert world.reports()[-1] == UnregisterAgent(), "the tasks' last words come before it"
    assert world.core.next_deadline_ms() is None


def test_an_agent_whose_process_ends_says_so_and_leaves_its_tasks_alone() -> None:
    world = World()
    world.running("t")
    world.clear()
    world.apply(ProcessStopping(now_ms=world.now_ms))
    assert world.reports()[-1] == AgentStopping()
    assert world.kills() == []


def test_an_agent_that_nobody_knows_says_nothing_when_its_process_ends() -> None:
    world = World(joined=False)
    world.clear()
    world.apply(ProcessStopping(now_ms=world.now_ms))
    assert world.reports() == []


def test_an_idle_agent_stops_at_once() -> None:
    world = World()
    world.apply(ShutdownRequested(now_ms=world.now_ms, message="for good"))
    assert world.done(StopAgent) == [StopAgent(message="for good")]


def test_an_agent_that_no_master_takes_stops_without_a_word_and_forgets_nothing() -> None:
    """Its id is another's: a farewell under that id would be the other's."""
    world = World(joined=False)
    world.tick()
    world.clear()
    world.command(ShutdownAgent("the id a1 belongs to the agent at host-b, which is alive"), first=0)
    assert world.done(StopAgent) == [
        StopAgent(message="the id a1 belongs to the agent at host-b, which is alive", refused=True)
    ]
    assert world.reports() == []
    assert world.core.next_deadline_ms() is None


def test_an_agent_whose_tasks_an_earlier_life_ran_leaves_like_any_other() -> None:
    world = World()
    container_id = world.running("t")
    later = world.next_life(survivors=[container_id], joined=False)
    later.command(ShutdownAgent("gone"), first=0)
    assert later.kills() == [(container_id, 3000)]
    later.exited(container_id, 143)
    assert later.done(StopAgent) == [StopAgent(message="gone")]


def test_tasks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_TASKS > 0
    monkeypatch.setattr("mesolite.agent.admission.MAX_TASKS", 1)
    world = World()
    world.command(run("a"), run("b"))
    assert len(world.launched()) == 1
