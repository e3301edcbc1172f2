"""What the memory broker has over Redis: a clock of its own, ids that never come back, and outages on demand."""

import pytest

from mesolite.clock import ManualClock
from mesolite.errors import RedisUnavailable
from mesolite.transport import BEGINNING, Append, Commit, MemoryBroker, MemoryStore, Store
from tests.leading import take_epoch


def append(store: Store, stream: str, *payloads: bytes) -> list[str]:
    return [store.append(stream, payload, max_length=1_000) for payload in payloads]


def payloads_of(store: Store, stream: str) -> list[bytes]:
    return [entry.payload for entry in store.read({stream: BEGINNING}, limit=10_000, wait_ms=0)]


def test_time_is_the_brokers_clock() -> None:
    clock = ManualClock(5_000)
    store = MemoryStore(MemoryBroker(clock))
    store.put("leader", b"me", ttl_ms=10)

    assert append(store, "calls:default", b"x", b"y") == ["5000-0", "5000-1"]
    clock.advance(9)
    assert store.get("leader") == b"me"
    clock.advance(1)
    assert store.get("leader") is None
    assert append(store, "calls:default", b"z") == ["5010-0"]


def test_an_id_never_comes_back_though_the_clock_stands_still() -> None:
    store = MemoryStore(MemoryBroker(ManualClock()))
    (old,) = append(store, "framework:f", b"old")
    store.delete_stream("framework:f")

    append(store, "framework:f", b"new")

    assert [entry.payload for entry in store.read({"framework:f": old}, limit=10, wait_ms=0)] == [b"new"]


def test_it_can_be_away_and_come_back() -> None:
    broker = MemoryBroker()
    store = MemoryStore(broker)
    append(store, "calls:default", b"x")

    broker.available = False
    with pytest.raises(RedisUnavailable):
        store.append("calls:default", b"y", max_length=10)
    with pytest.raises(RedisUnavailable):
        store.read({"calls:default": BEGINNING}, limit=10, wait_ms=0)

    broker.available = True
    assert payloads_of(store, "calls:default") == [b"x"]


def test_a_stream_is_trimmed_to_exactly_its_limit_however_long_it_runs() -> None:
    store = MemoryStore(MemoryBroker(ManualClock()))
    for n in range(5_000):
        store.append("framework:f", b"%d" % n, max_length=7)
    assert payloads_of(store, "framework:f") == [b"%d" % n for n in range(4_993, 5_000)]
    assert store.length("framework:f") == 7


def test_trimming_behind_the_cursor_and_appending_go_on_together() -> None:
    """Method: a thousand rounds of three appends and one commit, beyond the point where the dead head is dropped."""
    store = MemoryStore(MemoryBroker(ManualClock()))
    epoch = take_epoch(store)
    cursor = BEGINNING
    seen: list[bytes] = []
    for n in range(1_000):
        store.append_many(
            [Append(stream="calls:default", payload=b"%d" % (3 * n + k), max_length=100) for k in range(3)]
        )
        entries = store.read({"calls:default": cursor}, limit=2 + n % 3, wait_ms=0)
        seen += [entry.payload for entry in entries]
        before, cursor = cursor, entries[-1].entry_id
        store.commit(Commit(epoch=epoch, cursor_from={"calls:default": before}, cursor_to={"calls:default": cursor}))
    seen += [entry.payload for entry in store.read({"calls:default": cursor}, limit=100, wait_ms=0)]
    assert seen == [b"%d" % n for n in range(3_000)]
