"""How a message lies in Redis, and what may be read out of one."""

from typing import Any

import pytest

from mesolite.frameworks.celery.broker.decoding import Layout, arrival, decode
from mesolite.frameworks.celery.broker.records import (
    Returns,
    id_order,
    pack_record,
    returned,
    returns_of,
    tag_of,
    unpack_record,
)


@pytest.mark.parametrize("key", ["celery", "celery\x06\x163", "with: colon", "naïve", ""])
@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff\x00: 3:"])
def test_a_record_keeps_the_key_and_every_byte_of_the_message(key: str, raw: bytes) -> None:
    assert unpack_record(pack_record(key, raw)) == (key, raw)


def test_ids_sort_as_messages_were_taken() -> None:
    ids = ["2.a.1.0", "1.b.10.0", "1.b.9.11", "1.b.9.2"]
    assert sorted(ids, key=id_order) == ["1.b.9.2", "1.b.9.11", "1.b.10.0", "2.a.1.0"]


@pytest.mark.parametrize(
    "message", [None, 1, [], {}, {"properties": 3}, {"properties": {}}, {"properties": {"delivery_tag": 7}}]
)
def test_what_has_no_tag_is_no_message(message: object) -> None:
    assert tag_of(message) is None
    assert returns_of(message, "t") == Returns()


@pytest.mark.parametrize("header", [None, 3, "text", [], ["t"], ["t", "1", 2], ["t", 1, 2, 3]])
def test_a_header_that_is_not_ours_counts_nothing(header: Any) -> None:
    assert returns_of({"headers": {"mesolite-returns": header}}, "t") == Returns()


@pytest.mark.parametrize("raw", [b"\xff", b"no json", b"[1]"])
def test_what_cannot_be_read_goes_back_as_it_came(raw: bytes) -> None:
    assert returned(raw, "t", Returns(1, 1)) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        b"no json",
        b"[1]",
        b"{}",
        b'{"properties": {}}',
        b'{"__type__": "date", "__value__": "x"}',
        b"[" * 99_999,
    ],
)
def test_a_message_that_kombu_cannot_read_is_an_error_and_no_crash(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not a message of kombu"):
        arrival("1.a.1.0", "celery", raw, Layout("", "\x06\x16"))


def test_a_lists_key_tells_its_queue_without_prefix_and_priority() -> None:
    assert Layout("p:", "\x06\x16").queue_of("p:celery\x06\x169") == "celery"
    assert Layout("", "\x06\x16").queue_of("celery") == "celery"


def test_what_kombu_writes_is_read_as_kombu_reads_it() -> None:
    assert decode(
        b'{"headers": {"eta": {"__type__": "uuid", "__value__": {"hex": "00000000000000000000000000000001"}}}}'
    )
