"""RESP2: commands into bytes, bytes into replies, in whatever pieces they come."""

import contextlib
from collections.abc import Callable
from typing import Final

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesolite.executors.python.redis_socket import Replies
from mesolite.executors.python.resp import MAX_LINE_BYTES, Appending, NotRedis, RedisRefusal, ReplyParser, command
from mesolite.frameworks.futures import replies
from mesolite.frameworks.futures.replies import ParserInC

ENTRY = b"*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\np\r\n$0\r\n\r\n"
ANSWERS = b"+OK\r\n:17\r\n$-1\r\n*-1\r\n*0\r\n$3\r\na\r\n\r\n*1\r\n*2\r\n$1\r\ns\r\n*1\r\n" + ENTRY
REPLIES = [b"OK", 17, None, None, [], b"a\r\n", [[b"s", [[b"1-0", [b"p", b""]]]]]]


def test_a_command_is_a_list_of_values() -> None:
    assert command("XTRIM", b"key", "MINID", 5) == b"*4\r\n$5\r\nXTRIM\r\n$3\r\nkey\r\n$5\r\nMINID\r\n$1\r\n5\r\n"


def test_an_append_is_the_command_that_it_stands_for() -> None:
    assert Appending("key", "p").command(b"\r\n") == command("XADD", "key", "*", "p", b"\r\n")


#: What an executor reads with, and what a program does.
PARSERS: Final = pytest.mark.parametrize("new_parser", [ReplyParser, ParserInC])


@PARSERS
def test_replies_are_read_in_order(new_parser: Callable[[], Replies]) -> None:
    assert new_parser().feed(ANSWERS) == REPLIES


@PARSERS
@given(sizes=st.lists(st.integers(1, 7)))
def test_replies_may_come_in_any_pieces(new_parser: Callable[[], Replies], sizes: list[int]) -> None:
    parser, data, said = new_parser(), ANSWERS, list[object]()
    for size in sizes:
        said += parser.feed(data[:size]) if data else []
        data = data[size:]
    said += parser.feed(data) if data else []
    assert said == REPLIES


@PARSERS
def test_an_error_is_a_value_and_the_next_reply_stands_behind_it(new_parser: Callable[[], Replies]) -> None:
    refusal, after = new_parser().feed(b"-READONLY You can't write\r\n:1\r\n")
    assert isinstance(refusal, RedisRefusal)
    assert refusal.message == "READONLY You can't write"
    assert after == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n",
        b":one\r\n",
        b"$-2\r\n",
        b"$999999999999\r\n",
        b"*999999999\r\n",
        b"*1\r\n" * 9,
        b"$1\r\nab\r\n",
        b":" + b"1" * 70_000,
        b":99999999999999999999\r\n",
    ],
)
def test_what_is_no_resp_is_refused(data: bytes) -> None:
    with pytest.raises(NotRedis):
        ReplyParser().feed(data)


@PARSERS
@given(garbage=st.binary())
def test_garbage_gives_replies_or_is_refused_and_nothing_else(
    new_parser: Callable[[], Replies], garbage: bytes
) -> None:
    with contextlib.suppress(NotRedis):
        assert len(new_parser().feed(garbage)) <= len(garbage)


def test_a_program_takes_no_value_that_is_larger_than_any_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "MAX_VALUE_BYTES", 100)
    parser, most = ParserInC(), MAX_LINE_BYTES
    assert parser.feed(b"$%d\r\n" % (2 * most) + b"x" * most) == []
    with pytest.raises(NotRedis):
        parser.feed(b"x" * 200)


def test_a_list_that_no_memory_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted:
        def __init__(self, **_: object) -> None: ...

        def feed(self, data: bytes) -> None: ...

        def gets(self) -> object:
            raise MemoryError

    monkeypatch.setattr(hiredis, "Reader", Exhausted)
    with pytest.raises(NotRedis):
        ParserInC().feed(b"*999999999\r\n")
