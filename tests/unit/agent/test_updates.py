"""Status updates: in order per task, one at a time, resent until acknowledged (reference 1.8)."""

from mesolite.agent.containerizer.contract import ContainerStarted
from mesolite.agent.effects import Refusal, SendReports
from mesolite.agent.settings import UPDATE_RETRY_CAP_MS, UPDATE_RETRY_MS
from mesolite.ids import TaskId
from mesolite.protocol import AcknowledgeStatuses, StatusAcknowledgement, TaskState

from .world import FRAMEWORK, HEARTBEAT_MS, World, run

S = TaskState


def test_only_the_head_travels_and_the_next_follows_its_acknowledgement_at_once() -> None:
    world = World()
    container_id = world.running("t")
    world.exited(container_id)
    assert world.states("t") == [S.RUNNING]
    (running,) = world.updates("t")
    world.acknowledge(running)
    assert world.states("t") == [S.RUNNING, S.FINISHED]


def test_an_update_is_resent_with_doubling_pauses_up_to_the_cap() -> None:
    world = World()
    world.running("t")
    pauses: list[int] = []
    last_ms = world.now_ms
    for _ in range(9):
        world.clear()
        while not world.updates("t"):
            due_ms = world.core.next_deadline_ms()
            assert due_ms is not None
            world.tick(max(0, due_ms - world.now_ms))
            world.hear_nothing_new()
        pauses.append(world.now_ms - last_ms)
        last_ms = world.now_ms
    assert pauses == [min(UPDATE_RETRY_MS * 2**power, UPDATE_RETRY_CAP_MS) for power in range(9)]


def test_a_resent_update_is_the_same_with_the_newest_state_beside_it() -> None:
    world = World()
    container_id = world.running("t")
    world.exited(container_id)
    world.tick(UPDATE_RETRY_MS)
    first, again = world.updates("t")
    assert again.status == first.status
    assert (first.latest_state, again.latest_state) == (S.RUNNING, S.FINISHED)


def test_an_acknowledged_update_is_not_resent() -> None:
    world = World()
    world.running("t")
    world.acknowledge_all("t")
    world.clear()
    for _ in range(10):
        world.tick(UPDATE_RETRY_CAP_MS)
    assert world.updates("t") == []


def test_each_update_begins_with_the_shortest_pause() -> None:
    world = World()
    container_id = world.running("t")
    for _ in range(2 * UPDATE_RETRY_CAP_MS // HEARTBEAT_MS):
        world.tick(HEARTBEAT_MS)
        world.hear_nothing_new()
    world.acknowledge_all("t")
    world.exited(container_id)
    world.clear()
    world.tick(UPDATE_RETRY_MS)
    assert world.states("t") == [S.FINISHED]


def test_a_wrong_acknowledgement_is_noted_and_changes_nothing() -> None:
    world = World()
    world.running("t")
    (update,) = world.updates("t")
    for wrong in (
        StatusAcknowledgement(FRAMEWORK, TaskId("t"), b"wrong"),
        StatusAcknowledgement(FRAMEWORK, TaskId("other"), update.status.uuid or b""),
    ):
        world.command(AcknowledgeStatuses((wrong,)))
    assert world.refusals() == [Refusal.WRONG_ACKNOWLEDGEMENT, Refusal.UNKNOWN_TASK]
    assert world.head("t") == update


def test_an_acknowledgement_that_comes_twice_counts_once() -> None:
    world = World()
    container_id = world.running("t")
    world.exited(container_id)
    (running,) = world.updates("t")
    world.acknowledge(running)
    world.acknowledge(running)
    head = world.head("t")
    assert head is not None
    assert head.status.state is S.FINISHED


def test_uuids_are_never_reused() -> None:
    world = World()
    world.exited(world.running("t"))
    world.acknowledge_all("t")
    later = world.next_life()
    later.exited(later.running("u"))
    later.acknowledge_all("u")
    uuids = [update.status.uuid for update in [*world.updates("t"), *later.updates("u")]]
    assert len(uuids) == len(set(uuids)) == 4
    assert {len(uuid or b"") for uuid in uuids} == {16}


def test_what_happens_within_one_batch_leaves_in_one_report() -> None:
    world = World()
    world.clear()
    world.command(*(run(f"t{number}", cpus=0.01, mem=1) for number in range(50)))
    containers = [spec.container_id for spec in world.launched()]
    assert len(containers) == 50
    world.clear()
    world.news(*(ContainerStarted(container_id=each) for each in containers))
    (report,) = world.done(SendReports)
    assert len(report.reports) == 50


def test_nothing_but_registrations_leaves_before_the_master_knows_the_agent() -> None:
    world = World()
    container_id = world.launch("t")
    world.epoch = 2
    world.command(first=2)
    world.clear()
    world.started(container_id)
    world.tick(UPDATE_RETRY_MS)
    assert world.updates("t") == []
    assert len(world.registrations()) == 1
    world.next_number = 1
    world.join()
    assert world.states("t") == [S.RUNNING]


def test_a_new_registration_sends_every_head_again() -> None:
    world = World()
    world.running("a")
    world.running("b")
    world.clear()
    world.epoch = 2
    world.next_number = 1
    world.join()
    assert world.states("a") == world.states("b") == [S.RUNNING]
