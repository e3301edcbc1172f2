"""An agent's shell with executors: the order of what it does, and what executors, in virtual time, make of it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from mesolite.agent.checkpoint import MemoryCheckpoint
from mesolite.agent.executor import SLACK_CPUS_MILLI
from mesolite.agent.executor_links.fake_executors import FakeExecutor, Manners
from mesolite.errors import CheckpointFailed
from mesolite.ids import ContainerId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import (
    AgentMessage,
    ExecutorAcknowledged,
    ExecutorEvent,
    ExecutorExited,
    ExecutorLaunch,
    ExecutorMessage,
    ExecutorTotals,
    KillPolicy,
    KillTask,
    Reason,
    ShutdownExecutor,
    StatusUpdate,
    TaskState,
)
from tests.integration.agent_rig import Rig

S = TaskState
F, E = FrameworkId("f"), ExecutorId("e")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    made.join()
    return made


def states(updates: Sequence[StatusUpdate], name: str) -> list[TaskState]:
    return [update.status.state for update in updates if update.status.task_id == name]


def last(updates: Sequence[StatusUpdate], name: str) -> tuple[TaskState, Reason | None]:
    status = [update.status for update in updates if update.status.task_id == name][-1]
    return status.state, status.reason


def the_executor(rig: Rig) -> FakeExecutor:
    (executor,) = rig.executors.running.values()
    return executor


def test_tasks_go_their_way_under_one_executor(rig: Rig) -> None:
    rig.run_under(("quick", ""), ("slow", "sleep 3"), ("bad", "fail"), ("says", "echo hi"), launch=True)
    updates = rig.settle(1000)
    assert states(updates, "quick") == [S.FINISHED]
    assert states(updates, "bad") == [S.FAILED]
    assert states(updates, "slow") == [S.RUNNING]
    assert [update.status.data for update in updates if update.status.task_id == "says"] == [b"hi"]
    assert states(rig.settle(3000), "slow") == [S.FINISHED]
    executor = the_executor(rig)
    assert executor.started == ["quick", "slow", "bad", "says"]
    assert (executor.unacknowledged, executor.unacknowledged_tasks) == ({}, {})
    (container,) = rig.host.containers.values()
    assert container.spec.bundle_dir == Path("/bundle")
    assert container.spec.socket_dir == Path("/sockets") / container.spec.container_id


def test_nothing_is_told_to_an_executor_before_it_is_on_disk(rig: Rig) -> None:
    assert isinstance(rig.checkpoint, MemoryCheckpoint)
    rig.run_under(("t", "hang"), launch=True)
    rig.settle(1000)
    before = list(the_executor(rig).heard)
    rig.checkpoint.failure = "the disk is full"
    with pytest.raises(CheckpointFailed):
        rig.run_under(("u", ""))
    rig.executors.poll(rig.clock.now_ms())
    assert the_executor(rig).heard == before


def test_an_executor_survives_its_agent_and_every_task_has_one_end(rig: Rig) -> None:
    rig.run_under(("ends-meanwhile", "sleep 2"), ("runs-on", "sleep 10"), launch=True)
    rig.settle(1000)
    rig.crash()
    rig.clock.advance(3000)
    rig.executors.poll(rig.clock.now_ms())
    rig.start()
    rig.join()
    assert states(rig.settle(1000), "ends-meanwhile") == [S.FINISHED]
    rig.run_under(("new", ""))
    assert states(rig.settle(1000), "new") == [S.FINISHED]
    assert states(rig.settle(10_000), "runs-on") == [S.FINISHED]
    assert the_executor(rig).started == ["ends-meanwhile", "runs-on", "new"]


def test_an_agent_that_died_between_checkpoint_and_telling_drops_the_task(rig: Rig) -> None:
    rig.run_under(("t", "hang"), launch=True)
    rig.settle(1000)
    executor = the_executor(rig)
    assert executor.connection is not None
    heard = executor.connection.heard
    rig.links.stop()
    rig.run_under(("lost", ""))
    assert heard == []
    rig.crash()
    rig.start()
    rig.join()
    assert last(rig.settle(1000), "lost") == (S.DROPPED, Reason.AGENT_RESTARTED)
    assert executor.started == ["t"]


def test_an_executor_that_does_not_come_back_takes_its_tasks_along(rig: Rig) -> None:
    rig.run_under(("t", "hang"), launch=True)
    rig.settle(1000)
    rig.crash()
    the_executor(rig).hang_up(None)
    rig.start()
    rig.join()
    assert last(rig.settle(16_000), "t") == (S.GONE, Reason.EXECUTOR_REREGISTRATION_TIMEOUT)
    exits = [report for batch in rig.batches for report in batch.reports if isinstance(report, ExecutorExited)]
    assert exits[0].launched_by == "t"


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("crash", Reason.EXECUTOR_TERMINATED),
        ("exit 3", Reason.EXECUTOR_TERMINATED),
        ("oom", Reason.CONTAINER_LIMITATION_MEMORY),
    ],
)
def test_an_executor_that_ends_is_reported_with_each_of_its_tasks(rig: Rig, does: str, reason: Reason) -> None:
    rig.run_under(("t", "hang"), ("u", does), launch=True)
    updates = rig.settle(1000)
    assert [last(updates, "t"), last(updates, "u")] == [(S.FAILED, reason)] * 2
    assert rig.host.containers == {}
    assert rig.doors.listening == {}


def test_an_executor_that_says_what_it_may_not_is_hung_up_on_and_may_come_back(rig: Rig) -> None:
    rig.run_under(("t", "sleep 5"), ("u", "garbage"), launch=True)
    rig.settle(1000)
    assert rig.shell.refusals["executor_fault"] == 1
    assert states(rig.settle(5000), "t") == [S.FINISHED]
    assert the_executor(rig).started == ["t", "u"]


def test_a_connection_that_breaks_costs_no_task(rig: Rig) -> None:
    rig.run_under(("t", "sleep 2"), ("u", "hang-up"), ("v", "sleep 1"), launch=True)
    updates = rig.settle(5000)
    assert last(updates, "t")[0] is S.FINISHED
    assert last(updates, "v") in [(S.FINISHED, None), (S.DROPPED, Reason.AGENT_RESTARTED)]


def test_kills_and_shutdown_reach_tasks(rig: Rig) -> None:
    rig.run_under(("t", "hang"), ("u", "stubborn"), ("v", "hang"), launch=True)
    rig.settle(1000)
    rig.say(KillTask(F, TaskId("t")), KillTask(F, TaskId("u"), KillPolicy(grace_period_ms=2000)))
    updates = rig.settle(1999)
    assert (states(updates, "t"), states(updates, "u")) == ([S.KILLED], [])
    assert states(rig.settle(1), "u") == [S.KILLED]
    rig.say(ShutdownExecutor(F, E))
    assert last(rig.settle(1000), "v")[0] is S.KILLED
    assert rig.host.containers == {}


def test_an_executor_that_never_subscribes_is_ended(rig: Rig) -> None:
    rig.executors.manners = Manners(subscribe_ms=10_000_000)
    rig.run_under(("t", ""), launch=True)
    assert last(rig.settle(61_000), "t") == (S.FAILED, Reason.EXECUTOR_REGISTRATION_TIMEOUT)


def test_messages_and_totals_find_those_who_want_them(rig: Rig) -> None:
    rig.run_under(("t", "hang"), launch=True)
    rig.settle(1000)
    rig.say(ExecutorMessage(F, E, b"ping"))
    the_executor(rig).say(ExecutorTotals(succeeded=7, active=1))
    rig.go(10)
    rig.heard()
    messages = [report for batch in rig.batches for report in batch.reports if isinstance(report, AgentMessage)]
    assert messages == [AgentMessage(F, E, b"ping")]
    the_executor(rig).hang_up(None)
    rig.say(ShutdownExecutor(F, E))
    rig.go(10_000)
    assert [change.totals for change in rig.totals] == [ExecutorTotals(succeeded=7, active=1), None]


def test_containers_grow_and_shrink_with_their_tasks(rig: Rig) -> None:
    rig.run_under(("t", "hang"), launch=True)
    rig.settle(1000)
    (container,) = rig.host.containers.values()
    assert container.spec.cpus_milli == 200 + SLACK_CPUS_MILLI
    rig.run_under(("u", "sleep 1"), ("v", "sleep 1"))
    assert container.spec.cpus_milli == 400 + SLACK_CPUS_MILLI
    rig.settle(10_000)
    assert container.spec.cpus_milli == 200 + SLACK_CPUS_MILLI


def test_an_executor_whose_sockets_cannot_be_made_is_not_launched(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(container_id: ContainerId, framework_id: FrameworkId) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rig.links, "open", full)
    rig.run_under(("t", ""), launch=True)
    assert last(rig.settle(1000), "t") == (S.FAILED, Reason.CONTAINER_LAUNCH_FAILED)


def test_the_view_shows_executors(rig: Rig) -> None:
    rig.run_under(("t", "hang"), launch=True)
    rig.settle(1000)
    view = rig.shell.view()
    assert view["executors"] == [
        {
            "framework_id": "f",
            "executor_id": "e",
            "container_id": "0000000000000001-1",
            "phase": "RUNNING",
            "connected": True,
            "tasks": 1,
            "waiting_tasks": 0,
            "cpus_milli": 200,
            "mem_mib": 48,
        }
    ]


def test_many_tasks_are_told_in_one_piece(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.run_under(("first", "hang"), launch=True)
    rig.settle(1000)
    pieces: list[int] = []
    send = rig.links.send

    def count(container_id: ContainerId, connection: int, events: Sequence[ExecutorEvent]) -> None:
        pieces.append(sum(isinstance(event, ExecutorLaunch | ExecutorAcknowledged) for event in events))
        send(container_id, connection, events)

    monkeypatch.setattr(rig.links, "send", count)
    rig.run_under(*[(f"t{number}", "") for number in range(30)])
    assert pieces == [30, 30]
