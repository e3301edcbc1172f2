"""Following a stream over connections that come and go."""

import pytest

from mesolite.executors.python.resp import RedisRefusal, Reply, command
from mesolite.executors.python.stream_reader import BLOCK_MS, EMPTY_READS, MAX_ENTRIES, ReadRefused, StreamReader

LOOK = command("XREVRANGE", "key", "+", "-", "COUNT", 1)


def read_from(position: str) -> bytes:
    """The command that reads what is behind a position."""
    return command("XREAD", "COUNT", MAX_ENTRIES, "BLOCK", BLOCK_MS, "STREAMS", "key", position)


def entries(*ids: str) -> list[Reply]:
    """What Redis answers for these entries, each of which holds its id."""
    return [[entry_id.encode(), [b"p", entry_id.encode()]] for entry_id in ids]


def test_entries_are_handed_out_and_the_next_read_is_behind_them() -> None:
    reader = StreamReader("key", "4-0")
    assert reader.first() == LOOK
    assert reader.take(entries("4-0")) == ([], read_from("4-0"))
    assert reader.take([[b"key", entries("5-0", "5-1")]]) == ([b"5-0", b"5-1"], read_from("5-1"))
    assert reader.position == "5-1"


@pytest.mark.parametrize("newest", [[], entries("9-5")])
def test_a_redis_that_lacks_what_was_read_is_read_from_the_beginning(newest: list[Reply]) -> None:
    reader = StreamReader("key", "10-1")
    reader.first()
    assert reader.take(newest) == ([], read_from("0-0"))


def test_after_reads_that_bring_nothing_the_newest_entry_is_looked_at() -> None:
    reader = StreamReader("key")
    reader.first()
    reader.take([])
    following = [reader.take(None)[1] for _ in range(EMPTY_READS)]
    assert following == [*[read_from("0-0")] * (EMPTY_READS - 1), LOOK]


def test_an_entry_of_somebody_else_counts_as_an_empty_one() -> None:
    reader = StreamReader("key")
    reader.first()
    reader.take([])
    assert reader.take([[b"key", [[b"1-0", [b"q", b"x"]], [b"2-0", None]]]])[0] == [b"", b""]


@pytest.mark.parametrize("reply", [RedisRefusal("UNBLOCKED"), 1, b"OK", [b"x"], [[b"key", [b"x"]]], [[b"key", []]]])
def test_any_other_answer_ends_the_connection(reply: Reply) -> None:
    reader = StreamReader("key")
    reader.first()
    reader.take([])
    with pytest.raises(ReadRefused):
        reader.take(reply)
