"""What the agent's ends of executors' sockets promise (agent/executor_links/contract.py)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from mesolite.agent.executor_links.contract import ExecutorHungUp, ExecutorSpoke
from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, TaskId
from mesolite.protocol import ExecutorCall, TaskState
from mesolite.protocol.executor import (
    ExecutorAcknowledged,
    ExecutorHeartbeat,
    ExecutorSaid,
    ExecutorSubscribe,
    ExecutorSubscribed,
    ExecutorTotals,
    ExecutorUpdate,
)
from tests.contract.link_ends import ExecutorEnd, FakeRig, LinkRig, SocketRig

ONE, TWO = ContainerId("one"), ContainerId("two")
FRAMEWORK: Final = FrameworkId("framework")
SUBSCRIBED: Final = ExecutorSubscribed(
    version=1, framework_id=FRAMEWORK, executor_id=ExecutorId("e"), agent_id=AgentId("a"), container_id=ONE
)


@pytest.fixture(params=["sockets", "fake"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LinkRig]:
    """Links with one executor expected."""
    made = SocketRig(tmp_path / "sockets") if request.param == "sockets" else FakeRig()
    made.links.open(ONE, FRAMEWORK)
    yield made
    made.clean()


def acknowledged(number: int) -> ExecutorAcknowledged:
    return ExecutorAcknowledged(task_id=TaskId("t"), update_id=str(number))


def subscribed(rig: LinkRig, container_id: ContainerId = ONE) -> tuple[ExecutorEnd, int]:
    """An executor that has subscribed, and the number of its connection."""
    before = len(rig.spoken(container_id))
    end = rig.connect(container_id)
    end.say(ExecutorSubscribe())
    rig.wait_for(lambda: len(rig.spoken(container_id)) > before)
    return end, rig.connections(container_id)[-1]


def test_what_an_executor_says_is_heard_in_its_order(rig: LinkRig) -> None:
    end, _ = subscribed(rig)
    update = ExecutorUpdate(task_id=TaskId("t"), state=TaskState.RUNNING, update_id="1", data=b"\0\xff")
    said: list[ExecutorCall] = [update, ExecutorSaid(data=b"hello"), ExecutorTotals(succeeded=1), ExecutorHeartbeat()]
    end.say(*said)
    end.say(ExecutorSaid(data=b"more"))
    rig.wait_for(lambda: len(rig.spoken(ONE)) == 6)
    assert rig.spoken(ONE) == [ExecutorSubscribe(), *said, ExecutorSaid(data=b"more")]


def test_what_is_unacknowledged_arrives_with_the_subscription(rig: LinkRig) -> None:
    update = ExecutorUpdate(task_id=TaskId("t"), state=TaskState.FINISHED, update_id="9")
    subscribe = ExecutorSubscribe(unacknowledged_tasks=(TaskId("u"),), unacknowledged_updates=(update,))
    rig.connect(ONE).say(subscribe, ExecutorHeartbeat())
    rig.wait_for(lambda: len(rig.spoken(ONE)) == 2)
    assert rig.spoken(ONE) == [subscribe, ExecutorHeartbeat()]


def test_what_is_said_to_an_executor_arrives_in_its_order(rig: LinkRig) -> None:
    end, number = subscribed(rig)
    rig.links.send(ONE, number, [SUBSCRIBED, acknowledged(1)])
    rig.links.send(ONE, number, [acknowledged(2)])
    rig.wait_for(lambda: len(end.heard()) == 3)
    assert end.heard() == [SUBSCRIBED, acknowledged(1), acknowledged(2)]


def test_each_executor_hears_only_what_is_said_to_it(rig: LinkRig) -> None:
    rig.links.open(TWO, FRAMEWORK)
    first, one = subscribed(rig)
    second, two = subscribed(rig, TWO)
    assert one != two
    rig.links.send(ONE, two, [acknowledged(1)])
    rig.links.send(TWO, one, [acknowledged(2)])
    rig.links.send(TWO, two, [acknowledged(3)])
    rig.links.send(ONE, one, [acknowledged(4)])
    rig.wait_for(lambda: first.heard() and second.heard())
    assert (first.heard(), second.heard()) == ([acknowledged(4)], [acknowledged(3)])


def test_an_executor_that_hangs_up_is_told_once_and_may_come_again(rig: LinkRig) -> None:
    end, first = subscribed(rig)
    end.hang_up()
    rig.wait_for(lambda: rig.hung_up() == [first])
    assert rig.events[-1] == ExecutorHungUp(container_id=ONE, connection=first)
    again, second = subscribed(rig)
    assert second > first
    rig.links.send(ONE, first, [acknowledged(1)])
    rig.links.send(ONE, second, [acknowledged(2)])
    rig.wait_for(again.heard)
    assert again.heard() == [acknowledged(2)]


def test_all_that_was_said_before_hanging_up_is_heard_before_that(rig: LinkRig) -> None:
    end, first = subscribed(rig)
    end.say(*[ExecutorSaid(data=b"%d" % number) for number in range(100)])
    end.hang_up()
    rig.wait_for(lambda: rig.hung_up() == [first])
    assert len(rig.spoken(ONE)) == 101
    assert isinstance(rig.events[-1], ExecutorHungUp)


def test_the_newest_connection_of_an_executor_takes_the_place_of_the_one_before(rig: LinkRig) -> None:
    former, first = subscribed(rig)
    newest, second = subscribed(rig)
    rig.wait_for(lambda: former.over)
    assert rig.hung_up() == [first]
    ends = [event for event in rig.events if event.connection == second or isinstance(event, ExecutorHungUp)]
    assert isinstance(ends[0], ExecutorHungUp), "the one before was over when the next was heard"
    rig.links.send(ONE, second, [acknowledged(1)])
    rig.wait_for(newest.heard)


def test_a_connection_is_closed_once_what_was_said_on_it_has_left(rig: LinkRig) -> None:
    end, number = subscribed(rig)
    rig.links.send(ONE, number, [acknowledged(each) for each in range(1000)])
    rig.links.hang_up(ONE, number)
    rig.links.send(ONE, number, [SUBSCRIBED])
    rig.wait_for(lambda: end.over)
    assert end.heard() == [acknowledged(each) for each in range(1000)]
    rig.wait_for(lambda: rig.hung_up() == [number])
    subscribed(rig)


def test_what_is_said_on_a_connection_that_is_not_the_open_one_is_dropped(rig: LinkRig) -> None:
    rig.links.send(ONE, 1, [acknowledged(1)])
    rig.links.send(ContainerId("never-seen"), 1, [acknowledged(1)])
    rig.links.hang_up(ONE, 1)
    end, number = subscribed(rig)
    rig.links.send(ONE, number + 1, [acknowledged(1)])
    rig.links.send(ONE, number, [acknowledged(2)])
    rig.wait_for(end.heard)
    assert end.heard() == [acknowledged(2)]


def test_opening_again_changes_nothing(rig: LinkRig) -> None:
    end, number = subscribed(rig)
    rig.links.open(ONE, FRAMEWORK)
    rig.links.send(ONE, number, [acknowledged(1)])
    rig.wait_for(end.heard)


def test_an_executor_that_is_over_is_hung_up_on_and_nobody_listens_any_more(rig: LinkRig) -> None:
    end, number = subscribed(rig)
    rig.links.close(ONE)
    rig.links.close(ONE)
    rig.links.close(ContainerId("never-seen"))
    rig.wait_for(lambda: end.over)
    rig.wait_for(lambda: rig.hung_up() == [number])
    rig.links.send(ONE, number, [acknowledged(1)])
    with pytest.raises(OSError):
        rig.connect(ONE)


def test_an_id_that_was_closed_can_be_opened_again(rig: LinkRig) -> None:
    rig.links.close(ONE)
    rig.links.open(ONE, FRAMEWORK)
    subscribed(rig)


def test_after_the_stop_nothing_is_heard(rig: LinkRig) -> None:
    _, number = subscribed(rig)
    rig.links.stop()
    rig.links.stop()
    seen = list(rig.events)
    rig.links.send(ONE, number, [acknowledged(1)])
    rig.links.hang_up(ONE, number)
    assert rig.events == seen
    assert all(isinstance(event, ExecutorSpoke) for event in seen)


def test_a_second_subscription_on_one_connection_is_a_fault(rig: LinkRig) -> None:
    end, number = subscribed(rig)
    end.say(ExecutorHeartbeat(), ExecutorSubscribe(), ExecutorHeartbeat())
    rig.wait_for(lambda: rig.hung_up() == [number])
    assert rig.spoken(ONE) == [ExecutorSubscribe(), ExecutorHeartbeat()]
    event = rig.events[-1]
    assert isinstance(event, ExecutorHungUp)
    assert "SUBSCRIBE" in event.fault
    rig.wait_for(lambda: end.over)
