"""What plans in vain teach of the room that agents have."""

from collections import Counter

from mesolite.frameworks.futures.room import APART_MS, FORGET_MS, MAX_LESSONS, Room
from mesolite.ids import AgentId

ONE, OTHER = AgentId("agent-1"), AgentId("agent-2")


def of(cpus: int, mem: int) -> "Counter[str]":
    return Counter(cpus=cpus, mem=mem)


def taught() -> Room:
    room = Room()
    room.learn(0, ONE, of(4, 10))
    room.learn(APART_MS, ONE, of(4, 10))
    return room


def test_what_was_too_much_twice_is_and_all_that_holds_no_less_of_anything() -> None:
    room = taught()
    assert room.is_too_much(ONE, of(4, 10))
    assert room.is_too_much(ONE, of(5, 12))
    assert not room.is_too_much(ONE, of(3, 100))
    assert not room.is_too_much(ONE, of(100, 9))
    assert not room.is_too_much(OTHER, of(4, 10))


def test_what_was_too_much_once_or_at_one_time_may_have_been_an_accident() -> None:
    room = Room()
    room.learn(0, ONE, of(4, 10))
    room.learn(APART_MS - 1, ONE, of(3, 10))
    assert not room.is_too_much(ONE, of(4, 10))
    room.learn(APART_MS, ONE, of(3, 10))
    assert room.is_too_much(ONE, of(4, 10))
    assert not room.is_too_much(ONE, of(3, 10))


def test_a_lesson_is_no_more_once_as_much_was_there() -> None:
    room = taught()
    room.look(1, {ONE: of(4, 9)})
    assert room.is_too_much(ONE, of(4, 10))
    room.look(1, {ONE: of(5, 10)})
    assert not room.is_too_much(ONE, of(9, 90))
    assert room.agents() == set()


def test_a_lesson_is_forgotten_when_others_may_have_changed() -> None:
    room = taught()
    room.look(FORGET_MS - 1, {ONE: of(0, 0)})
    assert room.is_too_much(ONE, of(4, 10))
    room.look(FORGET_MS, {ONE: of(0, 0)})
    assert not room.is_too_much(ONE, of(4, 10))


def test_the_newest_lessons_are_kept() -> None:
    room = taught()
    for number in range(MAX_LESSONS - 1):
        room.learn(APART_MS * (number + 2), OTHER, of(1, 1))
    assert not room.is_too_much(ONE, of(4, 10))
    assert room.agents() == {ONE, OTHER}
