"""A new life of the agent: what it adopts, what it gives up, what it tells."""

from pathlib import Path

import pytest

from mesolite.agent.core import AgentCore
from mesolite.agent.effects import ShowTasks
from mesolite.agent.events import ContainersRecovered, Tick
from mesolite.agent.lifecycle import Phase
from mesolite.ids import ContainerId, TaskId
from mesolite.protocol import Reason, ShutdownFramework, TaskState

from .world import FRAMEWORK, World, run, under

S = TaskState


def word(world: World, name: str) -> tuple[TaskState, Reason | None]:
    status = world.core.book.tasks[FRAMEWORK, TaskId(name)].pending[-1]
    return status.state, status.reason


def test_a_running_task_does_not_notice() -> None:
    world = World()
    container_id = world.running("t")
    world.acknowledge_all("t")
    later = world.next_life(survivors=[container_id])
    assert later.kills() == []
    assert later.updates("t") == []
    (registration,) = later.registrations()
    assert registration.tasks[0].latest_state is S.RUNNING
    assert registration.tasks[0].sent_status is not None
    assert registration.tasks[0].sent_status.state is S.RUNNING
    later.exited(container_id)
    assert later.states("t") == [S.FINISHED]
    assert later.core.book.ledger.held["cpus"] == 0


def test_unacknowledged_updates_are_sent_again_in_order() -> None:
    world = World()
    container_id = world.running("t")
    world.exited(container_id)
    later = world.next_life()
    later.acknowledge_all("t")
    assert later.states("t") == [S.RUNNING, S.FINISHED]
    assert later.updates("t")[0].status == world.updates("t")[0].status


def test_a_container_that_was_started_unseen_runs() -> None:
    world = World()
    container_id = world.launch("t")
    later = world.next_life(survivors=[container_id])
    assert later.states("t") == [S.RUNNING]


def test_a_container_that_is_gone_takes_its_task_along() -> None:
    world = World()
    world.running("ran")
    world.launch("waited")
    later = world.next_life()
    assert word(later, "ran") == (S.GONE, Reason.AGENT_RESTARTED)
    assert word(later, "waited") == (S.DROPPED, Reason.AGENT_RESTARTED)
    assert later.launched() == [], "whether it was started is not known, so it is not started again"
    assert later.core.book.ledger.held["cpus"] == 0


def test_a_kill_goes_on() -> None:
    world = World()
    container_id = world.running("t")
    world.kill("t", 7000)
    later = world.next_life(survivors=[container_id])
    assert later.kills() == [(container_id, 7000)]
    later.exited(container_id, 143)
    assert word(later, "t") == (S.KILLED, None)


def test_a_task_that_was_killed_and_is_gone_was_killed() -> None:
    world = World()
    world.running("t")
    world.kill("t")
    assert word(world.next_life(), "t") == (S.KILLED, None)


def test_the_time_limit_counts_from_the_first_start() -> None:
    world = World()
    container_id = world.running("t", limit_ms=60_000)
    world.now_ms += 40_000
    later = world.next_life(survivors=[container_id])
    later.tick(18_999)
    assert later.kills() == []
    later.tick(1)
    assert later.kills() == [(container_id, 3000)]


def test_after_a_reboot_everything_is_gone_whatever_is_still_listed() -> None:
    world = World()
    container_id = world.running("t")
    later = world.next_life(survivors=[container_id], boot_id="boot-2")
    assert word(later, "t") == (S.GONE, Reason.AGENT_RESTARTED)
    assert later.kills() == [(container_id, 0)]
    again = later.next_life(boot_id="boot-2")
    again.acknowledge_all("t")
    assert again.core.book.tasks == {}


def test_what_may_have_begun_before_a_reboot_is_gone_and_does_not_begin_again() -> None:
    """The machine may have taken the newest records along: neither a launch that is known nor one that is not can be trusted."""
    world = World()
    world.launch("known")
    later = world.next_life(boot_id="boot-2", joined=False)
    assert word(later, "known") == (S.GONE, Reason.AGENT_RESTARTED)
    later.tick()
    later.command(run("forgotten"), under("told", launch=True))
    for name in ("forgotten", "told"):
        assert word(later, name) == (S.GONE, Reason.AGENT_RESTARTED)
    assert later.launched() == []
    assert later.launched_executors() == []
    later.join()
    assert [each.launched_by for each in later.exits()] == ["told"], "the master has charged the executor"


def test_a_reboot_is_over_when_a_master_has_answered() -> None:
    world = World()
    later = world.next_life(boot_id="boot-2", joined=False)
    again = later.next_life(joined=False)
    again.tick()
    again.command(run("sent before"))
    assert word(again, "sent before") == (S.GONE, Reason.AGENT_RESTARTED), "the life between has heard of no master"
    again.join()
    again.launch("new")
    assert len(again.launched()) == 1
    last = again.next_life(joined=False)
    last.tick()
    last.launch("resent")
    assert len(last.launched()) == 1


def test_containers_of_nobody_are_ended() -> None:
    world = World()
    later = world.next_life(survivors=[ContainerId("orphan")])
    assert later.kills() == [(ContainerId("orphan"), 0)]


def test_a_task_id_is_launched_at_most_once_over_all_lives() -> None:
    world = World()
    live = world.running("live")
    over = world.running("over")
    world.exited(over)
    world.acknowledge_all("over")
    later = world.next_life(survivors=[live])
    later.command(run("live"), run("over"))
    assert later.launched() == []
    assert later.next_life(survivors=[live]).launched() == []


def test_a_framework_that_was_ending_goes_on_ending() -> None:
    world = World()
    container_id = world.running("t")
    world.command(ShutdownFramework(FRAMEWORK))
    later = world.next_life(survivors=[container_id])
    later.command(run("late"))
    assert word(later, "late") == (S.DROPPED, Reason.FRAMEWORK_REMOVED)
    later.exited(container_id)
    assert word(later, "t") == (S.KILLED, Reason.FRAMEWORK_REMOVED)


def test_an_agent_that_shrank_starts_and_takes_nothing_until_there_is_room() -> None:
    world = World(cpus=2)
    first, second = world.running("a"), world.running("b")
    world.cpus = 1
    later = world.next_life(survivors=[first, second])
    later.exited(first)
    later.command(run("c"))
    assert later.launched() == []
    later.exited(second)
    later.command(run("d"))
    assert len(later.launched()) == 1


def test_nothing_is_said_before_the_containers_are_known() -> None:
    known = World().core
    fresh = AgentCore(known.info, session=known.session, life=b"12345678", boot_id="b", sandbox_root=Path("/s"))
    assert fresh.next_deadline_ms() is None
    assert fresh.apply(Tick(now_ms=1)) == []
    fresh.apply(ContainersRecovered(now_ms=1))
    assert fresh.next_deadline_ms() == 1


@pytest.mark.parametrize("steps", range(6))
def test_a_life_that_ends_anywhere_is_recovered_to_the_same_state(steps: int) -> None:
    """Method: cut a task's life after each step; the next life's task is what the former one's was."""
    world = World()
    container_id = ContainerId("")
    for number in range(steps):
        match number:
            case 0:
                container_id = world.launch("t")
            case 1:
                world.started(container_id)
            case 2:
                world.acknowledge_all("t")
            case 3:
                world.kill("t")
            case _:
                world.exited(container_id)
    before = world.core.book.tasks.get((FRAMEWORK, TaskId("t")))
    recovered = World(joined=False, checkpoint=world.checkpoint, survivors=[container_id], life=2)
    after = recovered.core.book.tasks.get((FRAMEWORK, TaskId("t")))
    if before is None:
        assert after is None
    elif before.phase is Phase.STAGING:
        assert after is not None
        assert after.phase is Phase.RUNNING
    else:
        assert after is not None
        assert after.progress() == before.progress()


def test_those_who_watch_hear_again_of_what_lives_since_when_and_of_ends_nobody_may_have_heard() -> None:
    world = World()
    started_ms = world.now_ms
    survivor = world.running("lives")
    world.exited(world.running("ended"), 1)
    world.running("lost")
    world.now_ms += 40_000
    later = world.next_life(survivors=[survivor])
    seen = [
        (change.task.task_id, change.state, change.since_ms)
        for shown in later.done(ShowTasks)
        for change in shown.changes
    ]
    assert seen == [
        ("ended", S.FAILED, None),
        ("lost", S.GONE, None),
        ("lives", S.STAGING, started_ms),
        ("lives", S.RUNNING, started_ms),
    ]
