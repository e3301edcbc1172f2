"""Main's sockets to a worker, with a test in the worker's place: what is taken back, what it is told, what is believed."""

import os
import socket
from collections.abc import Iterator

import pytest

from mesolite.executors.python.assignment import Ticket
from mesolite.executors.python.calls import BlockRef, Call, End, Function, Outcome
from mesolite.executors.python.codec import dumps, loads
from mesolite.executors.python.frames import (
    ARGUMENTS_IN_BLOCK,
    FORGET_FUNCTIONS,
    LOUD,
    MAX_FUNCTIONS,
    MAX_MESSAGE_BYTES,
    WITH_FUNCTION,
    BadFrame,
    CallFrame,
    call_bytes,
    decode_call,
    encode_answer,
    parts_of,
)
from mesolite.executors.python.worker_link import MAX_ANSWER_BYTES, WorkerLink

FUNCTION = Function(b"f" * 16, b"pickled function")


class Ends:
    """Both ends of a link."""

    def __init__(self) -> None:
        self.link = WorkerLink(1)
        calls, answers = self.link.fds()
        self.calls = socket.socket(fileno=os.dup(calls))
        self.answers = socket.socket(fileno=os.dup(answers))
        self.link.handed_over()

    def take(self) -> CallFrame:
        """As a worker does."""
        return decode_call(self.calls.recv(MAX_MESSAGE_BYTES))

    def answer(self, number: int, *, loud: bool = True, payload: bytes = b"") -> None:
        """As a worker does."""
        data = encode_answer(number, 0, End.RETURNED, 1, 0, payload)
        for part in parts_of(data):
            (self.answers if loud else self.calls).send(part)

    def close(self) -> None:
        self.link.close()
        self.calls.close()
        self.answers.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def ticket(number: int, *, function: Function = FUNCTION, arguments: bytes | BlockRef = b"arguments") -> Ticket:
    return Ticket(number, Call(number, function, arguments, nothing, name=f"n{number}"), 100, alone=False)


def nothing(call: Call, outcome: Outcome) -> None:
    """Nobody listens."""


def test_a_worker_gets_what_the_call_says_and_the_function_once(ends: Ends) -> None:
    assert ends.link.give([ticket(1), ticket(2)])
    first, second = ends.take(), ends.take()
    assert first == CallFrame(1, WITH_FUNCTION, b"f" * 16, 65_536, "n1", b"pickled function", b"arguments", b"")
    assert second == CallFrame(2, LOUD, b"f" * 16, 65_536, "n2", b"", b"arguments", b"")


def test_arguments_in_a_block_and_variables_travel_as_plain_values(ends: Ends) -> None:
    call = ticket(1, arguments=BlockRef("id", 7, "url"))
    call.call.environment = {"A": "b"}
    ends.link.give([call])
    frame = ends.take()
    assert frame.flags & ARGUMENTS_IN_BLOCK
    assert loads(frame.arguments) == ("id", 7, "url")
    assert frame.environment == dumps({"A": "b"})


def test_what_the_worker_has_not_taken_is_taken_back_in_order(ends: Ends) -> None:
    ends.link.give([ticket(number) for number in range(1, 6)])
    assert ends.take().number == 1
    assert ends.link.take_back() == [2, 3, 4, 5]
    assert ends.link.take_back() == []
    with pytest.raises(BlockingIOError):
        ends.calls.recv(MAX_MESSAGE_BYTES, socket.MSG_DONTWAIT)


def test_after_a_taking_back_the_worker_is_told_functions_anew(ends: Ends) -> None:
    ends.link.give([ticket(1)])
    assert ends.link.take_back() == [1]
    ends.link.give([ticket(1)])
    frame = ends.take()
    assert frame.flags == LOUD | WITH_FUNCTION | FORGET_FUNCTIONS
    assert frame.function == b"pickled function"


def test_a_worker_is_never_told_more_functions_than_it_keeps(ends: Ends) -> None:
    flags: list[int] = []
    for number in range(MAX_FUNCTIONS + 2):
        ends.link.give([ticket(number, function=Function(b"%016d" % number, b"f"))])
        flags.append(ends.take().flags)
    forgets = [number for number, each in enumerate(flags) if each & FORGET_FUNCTIONS]
    assert forgets == [MAX_FUNCTIONS]


@pytest.mark.parametrize(("taken", "back"), [(0, [1]), (1, []), (3, [])])
def test_a_call_in_parts_is_taken_back_where_no_part_of_it_was_taken(ends: Ends, taken: int, back: list[int]) -> None:
    large = ticket(1, arguments=bytes(10 * MAX_MESSAGE_BYTES))
    assert not ends.link.give([large]), "it is more than a socket holds"
    for _ in range(taken):
        assert ends.calls.recv(MAX_MESSAGE_BYTES)
    assert ends.link.take_back() == [], "the worker lives, and may be in the middle of it"
    assert ends.link.take_back(over=True) == back


def test_a_call_in_parts_comes_whole(ends: Ends) -> None:
    large = ticket(1, arguments=bytes(10 * MAX_MESSAGE_BYTES))
    data, complete = b"", ends.link.give([large])
    while not complete:
        data += ends.calls.recv(MAX_MESSAGE_BYTES)
        complete = ends.link.send_more()
    while len(data) < call_bytes(data):
        data += ends.calls.recv(MAX_MESSAGE_BYTES)
    assert decode_call(data).arguments == bytes(10 * MAX_MESSAGE_BYTES)


def test_a_loud_answer_brings_the_quiet_ones_before_it(ends: Ends) -> None:
    ends.link.give([ticket(1), ticket(2), ticket(3)])
    ends.answer(1, loud=False)
    ends.answer(2, loud=False)
    assert ends.link.hear() == []
    ends.answer(3)
    assert [answer.number for answer in ends.link.hear()] == [1, 2, 3]


def test_quiet_answers_can_be_looked_for(ends: Ends) -> None:
    ends.link.give([ticket(1), ticket(2), ticket(3)])
    ends.answer(1, loud=False)
    assert [answer.number for answer in ends.link.hear_quiet()] == [1]
    assert ends.link.hear_quiet() == []
    ends.answer(2)  # a worker whose socket was full
    ends.answer(3)
    assert [answer.number for answer in ends.link.hear_all()] == [2, 3]
    assert ends.link.hear_quiet() == []


def test_an_answer_in_parts_is_heard_once_it_is_whole(ends: Ends) -> None:
    ends.link.give([ticket(1)])
    parts = parts_of(encode_answer(1, 0, End.RETURNED, 1, 0, bytes(2 * MAX_MESSAGE_BYTES)))
    for part in parts[:-1]:
        ends.answers.send(part)
        assert ends.link.hear() == []
    ends.answers.send(parts[-1])
    [answer] = ends.link.hear()
    assert answer.payload == bytes(2 * MAX_MESSAGE_BYTES)


@pytest.mark.parametrize(
    "garbage",
    [
        b"x",
        b"\xff" * 100,
        encode_answer(1, 0, 99, 1, 0, b""),
        encode_answer(1, 0, End.RETURNED, 1, 0, b"payload") + b"more",
        encode_answer(1, 0, End.RETURNED, 1, 0, b"")[:-8] + (MAX_ANSWER_BYTES + 1).to_bytes(4, "little") + bytes(4),
    ],
)
def test_what_is_no_answer_is_told_from_one(ends: Ends, garbage: bytes) -> None:
    ends.link.give([ticket(1)])
    ends.answers.send(garbage)
    with pytest.raises(BadFrame):
        ends.link.hear()
