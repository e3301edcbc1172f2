"""Executors that speak garbage, half lines, endless lines, or nothing, that do not read, and that come in crowds.

Each test has beside the bad executor a good one, which must not notice.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from mesolite.agent.executor_links import server
from mesolite.agent.executor_links.contract import ExecutorHungUp
from mesolite.ids import ContainerId, FrameworkId, TaskId
from mesolite.protocol.executor import (
    MAX_LINE_BYTES,
    ExecutorAcknowledged,
    ExecutorError,
    ExecutorHeard,
    ExecutorSaid,
    ExecutorSubscribe,
)
from tests.contract.link_ends import SocketEnd, SocketRig
from tests.waiting import eventually

GOOD, BAD = ContainerId("good"), ContainerId("bad")
FRAMEWORK: Final = FrameworkId("framework")


class Crowd(SocketRig):
    """Links with a good and a bad executor."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for container_id in (GOOD, BAD):
            self.links.open(container_id, FRAMEWORK)
        self.good = self.join(GOOD)
        self.good_number = self.connections(GOOD)[-1]
        self._said = 0

    def join(self, container_id: ContainerId) -> SocketEnd:
        """Connect and subscribe."""
        before = len(self.spoken(container_id))
        end = self.connect(container_id)
        end.say(ExecutorSubscribe())
        self.wait_for(lambda: len(self.spoken(container_id)) > before)
        return end

    def check_good(self) -> None:
        """The good executor speaks and hears as ever, on the connection that it had."""
        self._said += 1
        word = b"%d" % self._said
        self.good.say(ExecutorSaid(data=word))
        self.wait_for(lambda: self.spoken(GOOD)[-1] == ExecutorSaid(data=word))
        self.links.send(GOOD, self.good_number, [ExecutorAcknowledged(task_id=TaskId("t"), update_id=word.decode())])
        self.wait_for(lambda: len(self.good.heard()) == self._said)
        assert self.connections(GOOD) == [self.good_number]

    def refused(self, end: SocketEnd) -> str:
        """Wait until the agent has hung up, and return what it said was wrong."""
        self.wait_for(lambda: end.over)
        (error,) = [event for event in end.heard() if isinstance(event, ExecutorError)]
        return error.message


def count_spoken(crowd: SocketRig, into: list[int]) -> None:
    into.append(len(crowd.spoken(BAD)))


def is_over(end: SocketEnd) -> bool:
    return end.over


def has_spoken(rig: SocketRig, calls: int) -> bool:
    return len(rig.spoken(BAD)) == calls


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    made = Crowd(tmp_path / "sockets")
    yield made
    made.clean()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 4096 + b"\n",
        b'{"type":"LAUNCH"}\n',
        b'{"type":"HEARTBEAT"}\n',
        b'"SUBSCRIBE"\n',
        b'{"type":"SUBSCRIBE","version":"one"}\n',
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    ],
)
def test_garbage_is_answered_with_what_is_wrong_and_hung_up_on(crowd: Crowd, garbage: bytes) -> None:
    end = crowd.connect(BAD)
    end.say_raw(garbage)
    assert crowd.refused(end)
    assert crowd.connections(BAD) == [], "it never subscribed"
    crowd.join(BAD)
    crowd.check_good()


def test_garbage_after_the_subscription_is_a_fault_of_the_connection(crowd: Crowd) -> None:
    end = crowd.join(BAD)
    end.say_raw(b'{"type":"MESSAGE","data":"aGVsbG8="}\nand now\n{"type":"HEARTBEAT"}\n')
    crowd.wait_for(crowd.hung_up)
    assert crowd.spoken(BAD) == [ExecutorSubscribe(), ExecutorSaid(data=b"hello")]
    event = crowd.events[-1]
    assert isinstance(event, ExecutorHungUp)
    assert "no message" in event.fault
    assert crowd.refused(end) == event.fault
    crowd.check_good()


def test_a_line_without_an_end_is_cut_off_at_its_bound(crowd: Crowd) -> None:
    end = crowd.join(BAD)
    end.say_raw(b"x" * (MAX_LINE_BYTES + 1))
    assert str(MAX_LINE_BYTES) in crowd.refused(end)
    crowd.check_good()


def test_a_line_up_to_the_bound_is_taken(crowd: Crowd) -> None:
    end = crowd.join(BAD)
    frame = b'{"type":"HEARTBEAT","pad":"%s"}'
    end.say_raw(frame % (b"x" * (MAX_LINE_BYTES - len(frame) + 2)) + b"\n")
    crowd.wait_for(lambda: len(crowd.spoken(BAD)) == 2)
    assert not end.over


def test_half_a_line_is_waited_for_and_forgotten_with_its_connection(crowd: Crowd) -> None:
    end = crowd.join(BAD)
    end.say_raw(b'{"type":"HEART')
    crowd.check_good()
    end.say_raw(b'BEAT"}\n{"type":"MESS')
    crowd.wait_for(lambda: len(crowd.spoken(BAD)) == 2)
    end.hang_up()
    crowd.wait_for(crowd.hung_up)
    crowd.join(BAD)
    assert len(crowd.spoken(BAD)) == 3


def test_whoever_says_nothing_is_hung_up_on(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SUBSCRIBE_WITHIN_S", 0.2)
    silent, slow = crowd.connect(BAD), crowd.connect(BAD)
    slow.say_raw(b'{"type":"SUBS')
    for end in (silent, slow):
        assert "SUBSCRIBE" in crowd.refused(end)
    crowd.check_good()


def test_an_executor_that_does_not_read_is_hung_up_on_at_the_bound(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_UNREAD_BYTES", 8 * 1024 * 1024)
    crowd.join(BAD)
    number = crowd.connections(BAD)[-1]
    for _ in range(100):
        crowd.links.send(BAD, number, [ExecutorHeard(data=b"x" * 100_000)])
    crowd.wait_for(lambda: crowd.hung_up() == [number])
    event = crowd.events[-1]
    assert isinstance(event, ExecutorHungUp)
    assert "does not read" in event.fault
    crowd.check_good()
    crowd.join(BAD)


def test_a_slow_reader_gets_all_in_its_order(crowd: Crowd) -> None:
    """More than the kernel holds, said at once; it leaves while it is read."""
    end = crowd.join(BAD)
    number = crowd.connections(BAD)[-1]
    said = [ExecutorHeard(data=b"%d" % each * 10_000) for each in range(200)]
    for event in said:
        crowd.links.send(BAD, number, [event])
    crowd.check_good()
    crowd.wait_for(lambda: len(end.heard()) == len(said))
    assert end.heard() == said


def test_whoever_does_not_read_does_not_keep_the_agent_from_hanging_up(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HANG_UP_WITHIN_S", 0.2)
    crowd.join(BAD)
    number = crowd.connections(BAD)[-1]
    crowd.links.send(BAD, number, [ExecutorHeard(data=b"x" * 1_000_000)] * 4)
    crowd.links.hang_up(BAD, number)
    crowd.wait_for(lambda: crowd.hung_up() == [number])
    crowd.check_good()


def test_many_connections_leave_room_for_the_one_that_subscribes(crowd: Crowd) -> None:
    crowd_of_silent = [crowd.connect(BAD) for _ in range(100)]
    crowd.wait_for(lambda: sum(end.over for end in crowd_of_silent) >= 100 - server.MAX_FRESH_CONNECTIONS)
    crowd.join(BAD)
    crowd.check_good()


def test_a_storm_of_connections_is_weathered(crowd: Crowd) -> None:
    """Four threads connect, speak or not, and hang up, as fast as they can; the good executor is served meanwhile."""
    over = threading.Event()

    def storm(number: int) -> None:
        count = 0
        while not over.is_set():
            count += 1
            with contextlib.suppress(OSError):
                end = SocketEnd(crowd.links.socket_dir(BAD))
                if count % 3 == number % 3:
                    end.say(ExecutorSubscribe())
                elif count % 3 == 0:
                    end.say_raw(b"garbage\n")
                end.hang_up()

    threads = [threading.Thread(target=storm, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        crowd.check_good()
    over.set()
    for thread in threads:
        thread.join()
    crowd.join(BAD)
    crowd.check_good()
    numbers = [event.connection for event in crowd.events if event.container_id == BAD]
    assert numbers == sorted(numbers), "one connection after the other, each to its end"


def test_links_opened_closed_and_spoken_to_from_several_threads(crowd: Crowd) -> None:
    """The shell is one thread; that several do no harm shows that what the links' own thread does meanwhile does none."""

    def live(number: int) -> None:
        container_id = ContainerId(f"life-{number}")
        for _ in range(30):
            crowd.links.open(container_id, FRAMEWORK)
            end = SocketEnd(crowd.links.socket_dir(container_id))
            end.say(ExecutorSubscribe())
            crowd.links.send(container_id, number, [ExecutorHeard(data=b"x")])
            crowd.links.close(container_id)
            eventually(partial(is_over, end))
            end.hang_up()

    threads = [threading.Thread(target=live, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    crowd.check_good()


def test_nothing_is_read_while_the_core_is_crowded(tmp_path: Path) -> None:
    """Method: the core has enough after each word, for as many looks as the test gives it."""
    looks = iter([False, *[True] * 20])
    heard_when_crowded: list[int] = []

    def crowded() -> bool:
        if not rig.spoken(BAD):
            return False
        heard_when_crowded.append(len(rig.spoken(BAD)))
        return next(looks, False)

    rig = SocketRig(tmp_path / "sockets", crowded=crowded)
    rig.links.open(BAD, FRAMEWORK)
    end = rig.connect(BAD)
    end.say(ExecutorSubscribe())
    for number in range(1, 4):
        rig.wait_for(partial(has_spoken, rig, number))
        end.say(ExecutorSaid(data=b"x"))
    rig.wait_for(lambda: len(rig.spoken(BAD)) == 4)
    rig.clean()
    # From the first look that said so until the last nothing was heard.
    assert len(set(heard_when_crowded[1:21])) == 1


def test_the_end_of_a_container_is_told_behind_all_that_its_executor_said(crowd: Crowd) -> None:
    """Method: the executor says much and dies, the end is told at once, many times over."""
    for _ in range(30):
        end = crowd.join(BAD)
        before = len(crowd.spoken(BAD))
        said = [ExecutorSaid(data=b"x" * 100)] * 500
        end.say(*said)
        end.hang_up()
        heard: list[int] = []
        crowd.server.when_heard(BAD, partial(count_spoken, crowd, heard))
        eventually(partial(list[int].copy, heard))
        assert heard == [before + len(said)]


def test_the_end_of_a_container_without_an_executor_is_told_at_once(crowd: Crowd) -> None:
    told: list[bool] = []
    crowd.server.when_heard(ContainerId("a-task"), lambda: told.append(True))
    assert told == [True]
    crowd.links.stop()
    crowd.server.when_heard(BAD, lambda: told.append(True))
    assert told == [True, True]


def test_the_sockets_of_an_earlier_life_are_taken_over(tmp_path: Path) -> None:
    first = SocketRig(tmp_path / "sockets")
    first.links.open(BAD, FRAMEWORK)
    end = first.connect(BAD)
    first.clean()
    second = SocketRig(tmp_path / "sockets")
    with pytest.raises(ConnectionRefusedError):
        second.connect(BAD)
    second.links.open(BAD, FRAMEWORK)
    assert end.over
    second.connect(BAD).say(ExecutorSubscribe())
    second.wait_for(lambda: second.spoken(BAD))
    second.clean()


def test_another_door_hands_its_connections_to_whom_it_belongs(tmp_path: Path) -> None:
    taken: list[tuple[ContainerId, FrameworkId]] = []

    def take(container_id: ContainerId, framework_id: FrameworkId, opened: socket.socket) -> None:
        taken.append((container_id, framework_id))
        opened.close()

    rig = SocketRig(tmp_path / "sockets", side_doors={"side.sock": take})
    rig.links.open(BAD, FRAMEWORK)
    end = SocketEnd(rig.links.socket_dir(BAD), "side.sock")
    rig.wait_for(lambda: end.over)
    assert taken == [(BAD, FRAMEWORK)]
    rig.links.close(BAD)
    with pytest.raises(OSError):
        SocketEnd(rig.links.socket_dir(BAD), "side.sock")
    end.hang_up()
    rig.clean()
