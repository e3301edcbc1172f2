"""Entries of the pool's streams: what is written is read, and whatever else is written does nothing."""

import contextlib
import os
import pickle
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesolite.executors.python.calls import BlockRef, End, Outcome
from mesolite.executors.python.wire import (
    GOOD_BODY_BYTES,
    MAX_ENTRY_BYTES,
    MAX_ITEMS,
    VERSION,
    BadEntry,
    Begun,
    Cancel,
    ClientItem,
    Define,
    Ended,
    Envelope,
    ExecutorItem,
    Hello,
    Options,
    Returned,
    Run,
    Workers,
    cut_body,
    decode_client_body,
    decode_envelope,
    decode_executor_body,
    encode_body,
    encode_envelope,
)

BLOCK = BlockRef("id", 10, "http://10.0.0.1:5051/blocks/id")
CLIENT_ITEMS: list[ClientItem] = [
    Define(3, b"d" * 16, b"pickled"),
    Define(4, b"e" * 16, BLOCK),
    Run(1, 3, b"arguments"),
    Run(2, 4, BLOCK, Options("name", 1000, 1 << 30, 0, (("A", "b"),))),
    Cancel(1, True),
]
EXECUTOR_ITEMS: list[ExecutorItem] = [
    Hello("executor", "agent", "container", "3.11", 2, "http://10.0.0.1:5051/blocks", "token"),
    Returned(1, b"value", 12),
    Returned(2, BLOCK, 12),
    Ended(3, Outcome(End.OUT_OF_MEMORY, message="over", ran_us=5, limit_bytes=7, peak_bytes=9)),
    Ended(4, Outcome(End.RAISED, BLOCK, begun=True)),
    Begun(5),
    Workers(0),
]


def test_what_a_client_says_is_read_as_it_was_said() -> None:
    assert decode_client_body(encode_body(CLIENT_ITEMS)) == CLIENT_ITEMS


def test_what_an_executor_says_is_read_as_it_was_said() -> None:
    assert decode_executor_body(encode_body(EXECUTOR_ITEMS)) == EXECUTOR_ITEMS


def test_an_envelope_is_read_as_it_was_written() -> None:
    envelope = Envelope("1-0.abcdefab", "container", 7, 6, True, b"body")
    assert decode_envelope(encode_envelope(envelope)) == envelope


@pytest.mark.parametrize("item", CLIENT_ITEMS)
def test_an_executor_says_nothing_that_a_client_says(item: ClientItem) -> None:
    with pytest.raises(BadEntry, match="no executor"):
        decode_executor_body(encode_body([item]))


def test_more_fields_at_the_end_do_no_harm() -> None:
    assert decode_client_body(pickle.dumps(((3, 5, True, "new"),))) == [Cancel(5, True)]


class Evil:
    """Would run something when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.getcwd, ()


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"garbage",
        pickle.dumps(Evil()),
        pickle.dumps((VERSION, "a", "b", 1, 0, False)),
        pickle.dumps((VERSION, "", "b", 1, 0, False, b"")),
        pickle.dumps((VERSION, "a", "b", -1, 0, False, b"")),
        pickle.dumps((VERSION, "a", "b", 1, True, False, b"")),
        pickle.dumps((VERSION, "a", "b", 1, 0, 0, b"")),
        pickle.dumps((VERSION, "a" * 2000, "b", 1, 0, False, b"")),
        pickle.dumps([VERSION]),
        bytes(MAX_ENTRY_BYTES + 1),
    ],
    ids=lambda entry: repr(entry[:24]),
)
def test_what_is_no_envelope_is_refused(entry: bytes) -> None:
    with pytest.raises(BadEntry):
        decode_envelope(entry)


def test_another_version_is_refused_with_advice() -> None:
    with pytest.raises(BadEntry, match="install the same on both sides"):
        decode_envelope(pickle.dumps((VERSION + 1, "a")))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-2, 40) | st.binary(max_size=4) | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=9).map(tuple),
        max_leaves=30,
    )
)
def test_any_other_body_is_refused_and_nothing_else_happens(body: object) -> None:
    for decode in (decode_client_body, decode_executor_body):
        with contextlib.suppress(BadEntry):
            assert len(decode(pickle.dumps(body))) <= MAX_ITEMS


def test_bodies_are_cut_by_number_and_by_size() -> None:
    small: deque[ClientItem] = deque(Run(number, 0, b"") for number in range(MAX_ITEMS + 1))
    assert len(cut_body(small)) == MAX_ITEMS
    large: deque[ClientItem] = deque(Run(number, 0, bytes(GOOD_BODY_BYTES)) for number in range(3))
    assert [len(cut_body(large)) for _ in range(3)] == [1, 1, 1]
