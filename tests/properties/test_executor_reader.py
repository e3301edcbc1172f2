"""Whatever an executor sends, in whatever pieces: calls in their order up to the first fault, and never an error of ours."""

from itertools import pairwise

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from mesolite.agent.executor_links.reader import CallReader, Heard
from mesolite.ids import TaskId
from mesolite.protocol import ExecutorCall, TaskState
from mesolite.protocol.executor import (
    ExecutorHeartbeat,
    ExecutorSaid,
    ExecutorSubscribe,
    ExecutorTotals,
    ExecutorUpdate,
)

updates = st.builds(
    ExecutorUpdate,
    task_id=st.text(max_size=8).map(TaskId),
    state=st.sampled_from(TaskState),
    update_id=st.text(max_size=8),
    message=st.text(max_size=20),
    data=st.binary(max_size=20),
)
subscribes = st.builds(ExecutorSubscribe, unacknowledged_updates=st.lists(updates, max_size=3).map(tuple))
later: st.SearchStrategy[ExecutorCall] = st.one_of(
    updates,
    st.builds(ExecutorSaid, data=st.binary(max_size=20)),
    st.builds(ExecutorTotals, succeeded=st.integers(0, 2**63 - 1)),
    st.just(ExecutorHeartbeat()),
)


def conversation(first: ExecutorSubscribe, rest: list[ExecutorCall]) -> list[ExecutorCall]:
    """All that is said on one connection."""
    return [first, *rest]


conversations = st.builds(conversation, subscribes, st.lists(later, max_size=8))


def take_all(pieces: list[bytes]) -> Heard:
    """What a reader hears of all pieces, up to its fault."""
    reader, calls = CallReader(), list[ExecutorCall]()
    for piece in pieces:
        heard = reader.take(piece)
        calls.extend(heard.calls)
        if heard.fault:
            return Heard(tuple(calls), heard.fault)
    return Heard(tuple(calls))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The same bytes in pieces; empty ones never come out of a socket."""
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(at) if start < end]


@given(conversations, st.lists(st.integers(0, 10_000), max_size=6))
def test_how_the_bytes_are_cut_makes_no_difference(calls: list[ExecutorCall], places: list[int]) -> None:
    data = msgspec.json.Encoder().encode_lines(calls)
    assert take_all(cut(data, places)) == Heard(tuple(calls))


@given(conversations, st.binary(min_size=1, max_size=200), st.integers(0, 10_000), st.lists(st.integers(0, 10_000)))
def test_garbage_between_lines_costs_no_call_before_it(
    calls: list[ExecutorCall], garbage: bytes, place: int, places: list[int]
) -> None:
    """Garbage may happen to be a message, or blank; else it is a fault, and all calls before it were heard."""
    index = place % (len(calls) + 1)
    encoder = msgspec.json.Encoder()
    data = encoder.encode_lines(calls[:index]) + garbage + b"\n" + encoder.encode_lines(calls[index:])
    heard = take_all(cut(data, places))
    assert heard.calls[:index] == tuple(calls[:index])
    assert heard.fault or not garbage.strip() or len(heard.calls) >= len(calls)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
@example([b'{"type":"SUBSCRIBE","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"])
@example([b'{"type":"SUBSCRIBE","version":' + b"9" * 10_000 + b"}\n"])
@example([b'{"type":"SUBSCRIBE","unacknowledged_tasks":["\xff"]}\n'])
@example([b'{"type":"SUBSCRIBE","unacknowledged_tasks":["\\ud800"]}\n'])
@example([b"\0\n"])
def test_nothing_that_may_come_raises(pieces: list[bytes]) -> None:
    heard = take_all(pieces)
    assert heard.fault or b"\n" not in b"".join(pieces).strip() or heard.calls


@given(later)
def test_nothing_counts_before_the_subscription(call: ExecutorCall) -> None:
    heard = take_all([msgspec.json.Encoder().encode_lines([call, ExecutorSubscribe()])])
    assert heard.calls == ()
    assert "SUBSCRIBE" in heard.fault
