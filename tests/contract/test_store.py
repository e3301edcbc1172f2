"""What a `Store` promises, on the memory store and on a real Redis. Each test is a sentence of `contract.Store`."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mesolite.errors import CommitRefused
from mesolite.transport import (
    BEGINNING,
    Append,
    Commit,
    Store,
)
from tests.leading import take_epoch
from tests.waiting import eventually

from .stores import LONG_MS, OpenStore

#: Redis trims whole nodes of a hundred entries (redis.conf `stream-node-max-entries`).
NODE_ENTRIES = 100


def append(store: Store, stream: str, *payloads: bytes) -> list[str]:
    return [store.append(stream, payload, max_length=1_000) for payload in payloads]


def payloads_of(store: Store, stream: str) -> list[bytes]:
    return [entry.payload for entry in store.read({stream: BEGINNING}, limit=10_000, wait_ms=0)]


def stored(store: Store) -> tuple[int, dict[str, str], dict[str, bytes], dict[str, list[bytes]]]:
    """All that a commit may change."""
    streams = {name: payloads_of(store, name) for name in store.streams("")}
    return store.epoch(), store.cursor(), store.registry(), streams


# Streams


def test_entries_are_read_in_the_order_they_were_appended(store: Store) -> None:
    ids = append(store, "calls:default", b"one", b"two", b"three")

    entries = store.read({"calls:default": BEGINNING}, limit=10, wait_ms=0)

    assert [(entry.stream, entry.entry_id, entry.payload) for entry in entries] == [
        ("calls:default", ids[0], b"one"),
        ("calls:default", ids[1], b"two"),
        ("calls:default", ids[2], b"three"),
    ]


def test_payloads_are_opaque_bytes(store: Store) -> None:
    payloads = [b"", b"\x00\xff\r\n", bytes(range(256)), b"*3\r\n$3\r\n"]
    append(store, "calls:default", *payloads)
    assert payloads_of(store, "calls:default") == payloads


def test_a_large_payload_comes_through_whole(store: Store) -> None:
    payload = bytes(range(256)) * 4 * 1024 * 5
    append(store, "calls:default", payload)
    assert payloads_of(store, "calls:default") == [payload]


def test_reading_begins_behind_the_id_it_is_given(store: Store) -> None:
    first, second, _ = append(store, "calls:default", b"one", b"two", b"three")

    assert [e.payload for e in store.read({"calls:default": first}, limit=10, wait_ms=0)] == [b"two", b"three"]
    assert [e.payload for e in store.read({"calls:default": second}, limit=10, wait_ms=0)] == [b"three"]
    assert store.read({"calls:default": store.last_id("calls:default")}, limit=10, wait_ms=0) == []


def test_reading_changes_nothing(store: Store) -> None:
    append(store, "calls:default", b"one", b"two")
    first = store.read({"calls:default": BEGINNING}, limit=10, wait_ms=0)
    assert store.read({"calls:default": BEGINNING}, limit=10, wait_ms=0) == first
    assert store.length("calls:default") == 2


def test_the_limit_counts_for_each_stream(store: Store) -> None:
    append(store, "calls:default", b"c1", b"c2", b"c3")
    append(store, "reports:default", b"r1", b"r2", b"r3")

    entries = store.read({"calls:default": BEGINNING, "reports:default": BEGINNING}, limit=2, wait_ms=0)

    assert [entry.payload for entry in entries] == [b"c1", b"c2", b"r1", b"r2"]


def test_a_stream_that_does_not_exist_is_empty(store: Store) -> None:
    assert store.read({"calls:nobody": BEGINNING}, limit=10, wait_ms=0) == []
    assert store.last_id("calls:nobody") == BEGINNING
    assert store.length("calls:nobody") == 0


def test_no_streams_are_read_as_nothing(store: Store) -> None:
    assert store.read({}, limit=10, wait_ms=0) == []


def test_a_stream_keeps_about_as_many_of_the_newest_as_it_may(store: Store) -> None:
    store.append_many([Append(stream="framework:f", payload=b"%d" % n, max_length=200) for n in range(1_000)])

    kept = payloads_of(store, "framework:f")

    assert 200 <= len(kept) <= 200 + NODE_ENTRIES
    assert kept == [b"%d" % n for n in range(1_000 - len(kept), 1_000)]
    assert store.length("framework:f") == len(kept)


def test_a_cursor_that_was_trimmed_away_goes_on_with_the_oldest_left(store: Store) -> None:
    first = store.append("framework:f", b"first", max_length=200)
    store.append_many([Append(stream="framework:f", payload=b"%d" % n, max_length=200) for n in range(1_000)])

    (entry,) = store.read({"framework:f": first}, limit=1, wait_ms=0)

    assert entry.payload == payloads_of(store, "framework:f")[0]


def test_many_appends_arrive_in_order_across_streams(store: Store) -> None:
    store.append_many(
        [
            Append(stream="a", payload=b"1", max_length=10),
            Append(stream="b", payload=b"2", max_length=10),
            Append(stream="a", payload=b"3", max_length=10),
        ]
    )
    assert payloads_of(store, "a") == [b"1", b"3"]
    assert payloads_of(store, "b") == [b"2"]


def test_no_appends_append_nothing(store: Store) -> None:
    store.append_many([])
    assert store.streams("") == []


def test_the_last_id_is_that_of_the_newest_entry(store: Store) -> None:
    *_, newest = append(store, "calls:default", b"one", b"two")
    assert store.last_id("calls:default") == newest


def test_streams_are_listed_by_prefix_and_sorted(store: Store) -> None:
    for name in ("framework:b", "framework:a", "calls:default", "framework*"):
        append(store, name, b"x")
    store.put("framework:not-a-stream", b"x")

    assert store.streams("framework:") == ["framework:a", "framework:b"]
    assert store.streams("framework*") == ["framework*"]
    assert store.streams("") == ["calls:default", "framework*", "framework:a", "framework:b"]


def test_a_deleted_stream_is_gone_and_may_be_deleted_again(store: Store) -> None:
    append(store, "framework:f", b"x")

    store.delete_stream("framework:f")
    store.delete_stream("framework:f")

    assert store.streams("") == []
    assert payloads_of(store, "framework:f") == []


def test_handles_of_one_cluster_see_the_same_streams(another: OpenStore) -> None:
    append(another(), "calls:default", b"x")
    assert payloads_of(another(), "calls:default") == [b"x"]


# Waiting


def test_a_wait_for_nothing_ends_by_itself(store: Store) -> None:
    assert store.read({"calls:default": BEGINNING}, limit=10, wait_ms=20) == []


def test_a_read_that_finds_something_does_not_wait(store: Store) -> None:
    """A wait of LONG_MS would run into the suite's time limit."""
    append(store, "reports:default", b"x")
    for _ in range(20):
        entries = store.read({"calls:default": BEGINNING, "reports:default": BEGINNING}, limit=10, wait_ms=LONG_MS)
        assert [entry.payload for entry in entries] == [b"x"]


def test_an_append_through_another_handle_wakes_a_waiting_read(another: OpenStore) -> None:
    reader, writer = another(), another()
    with ThreadPoolExecutor(1) as pool:
        for n in range(20):
            after = reader.last_id("calls:default")
            waiting = pool.submit(reader.read, {"calls:default": after}, limit=10, wait_ms=LONG_MS)
            append(writer, "calls:default", b"%d" % n)
            assert [entry.payload for entry in waiting.result(LONG_MS / 1000)] == [b"%d" % n]


def test_a_commit_wakes_a_waiting_read(another: OpenStore) -> None:
    framework, master = another(), another()
    epoch = take_epoch(master)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(framework.read, {"framework:f": BEGINNING}, limit=10, wait_ms=LONG_MS)
        event = Append(stream="framework:f", payload=b"offer", max_length=10)
        master.commit(Commit(epoch=epoch, cursor_from={}, cursor_to={}, appends=[event]))
        assert [entry.payload for entry in waiting.result(LONG_MS / 1000)] == [b"offer"]


# Epoch and commit


def test_the_epoch_is_zero_before_the_first_master_and_grows_by_one(another: OpenStore) -> None:
    one, other = another(), another()
    assert one.epoch() == 0
    assert [take_epoch(one), take_epoch(other), take_epoch(one)] == [1, 2, 3]
    assert other.epoch() == 3


def test_the_epoch_is_at_least_what_the_caller_says(store: Store) -> None:
    assert [take_epoch(store, at_least=1_800_000_000), take_epoch(store, at_least=7)] == [1_800_000_000, 1_800_000_001]


def test_a_new_cluster_has_no_cursor_and_an_empty_registry(store: Store) -> None:
    assert store.cursor() == {}
    assert store.registry() == {}


def test_a_commit_moves_the_cursor_stores_the_registry_and_appends(store: Store) -> None:
    epoch = take_epoch(store)
    first, second, _ = append(store, "calls:default", b"one", b"two", b"three")

    store.commit(
        Commit(
            epoch=epoch,
            cursor_from={"calls:default": BEGINNING, "reports:default": BEGINNING},
            cursor_to={"calls:default": first},
            registry={"framework:a": b"\x81\x00", "framework:b": b"b"},
            appends=[
                Append(stream="framework:a", payload=b"hello", max_length=10),
                Append(stream="framework:b", payload=b"hello too", max_length=10),
                Append(stream="framework:a", payload=b"again", max_length=10),
            ],
        )
    )

    assert store.cursor() == {"calls:default": first}
    assert store.registry() == {"framework:a": b"\x81\x00", "framework:b": b"b"}
    assert payloads_of(store, "framework:a") == [b"hello", b"again"]
    assert payloads_of(store, "framework:b") == [b"hello too"]

    store.commit(
        Commit(
            epoch=epoch,
            cursor_from={"calls:default": first},
            cursor_to={"calls:default": second},
            registry={"framework:a": None, "framework:never": None, "framework:b": b"new"},
            delete_streams=["framework:a", "framework:never"],
        )
    )

    assert store.cursor() == {"calls:default": second}
    assert store.registry() == {"framework:b": b"new"}
    assert store.streams("framework:") == ["framework:b"]


def test_input_streams_are_trimmed_behind_the_cursor(store: Store) -> None:
    epoch = take_epoch(store)
    ids = append(store, "calls:default", *(b"%d" % n for n in range(300)))

    store.commit(Commit(epoch=epoch, cursor_from={}, cursor_to={"calls:default": ids[250]}))

    assert payloads_of(store, "calls:default") == [b"%d" % n for n in range(250, 300)], "the entry at the cursor stays"
    unread = store.read(store.cursor(), limit=1_000, wait_ms=0)
    assert [entry.payload for entry in unread] == [b"%d" % n for n in range(251, 300)]


def test_a_cursor_may_be_moved_for_a_stream_that_is_gone(store: Store) -> None:
    epoch = take_epoch(store)
    store.commit(Commit(epoch=epoch, cursor_from={"calls:x": BEGINNING}, cursor_to={"calls:x": "5-0"}))
    assert store.cursor() == {"calls:x": "5-0"}


def test_events_of_a_commit_are_trimmed_to_their_limit(store: Store) -> None:
    epoch = take_epoch(store)
    events = [Append(stream="framework:f", payload=b"%d" % n, max_length=100) for n in range(1_000)]

    store.commit(Commit(epoch=epoch, cursor_from={}, cursor_to={}, appends=events))

    kept = payloads_of(store, "framework:f")
    assert 100 <= len(kept) <= 100 + NODE_ENTRIES
    assert kept[-1] == b"999"


def test_an_empty_commit_checks_the_epoch(store: Store) -> None:
    epoch = take_epoch(store)
    store.commit(Commit(epoch=epoch, cursor_from={}, cursor_to={}))
    assert stored(store) == (epoch, {}, {}, {})
    with pytest.raises(CommitRefused):
        store.commit(Commit(epoch=epoch + 1, cursor_from={}, cursor_to={}))


def full_commit(epoch: int, cursor_from: dict[str, str]) -> Commit:
    """A commit that would change everything there is."""
    return Commit(
        epoch=epoch,
        cursor_from=cursor_from,
        cursor_to={"calls:default": "9-9"},
        registry={"kept": None, "new": b"new"},
        appends=[Append(stream="framework:new", payload=b"x", max_length=10)],
        delete_streams=["framework:old"],
    )


@pytest.fixture
def led(store: Store) -> Store:
    """A store with something in every place, at epoch 1, its cursor at 3-0."""
    epoch = take_epoch(store)
    append(store, "calls:default", b"call")
    append(store, "framework:old", b"event")
    store.commit(Commit(epoch=epoch, cursor_from={}, cursor_to={"calls:default": "3-0"}, registry={"kept": b"kept"}))
    return store


@pytest.mark.parametrize("epoch", [0, 2, 10])
def test_a_commit_of_another_epoch_is_refused_and_changes_nothing(led: Store, epoch: int) -> None:
    before = stored(led)
    with pytest.raises(CommitRefused, match=f"epoch.* 1 is stored.* {epoch}$"):
        led.commit(full_commit(epoch, {"calls:default": "3-0"}))
    assert stored(led) == before


@pytest.mark.parametrize(
    ("cursor_from", "reason"),
    [
        ({"calls:default": "2-0"}, "cursor of calls:default stands at 3-0.* begins at 2-0"),
        ({"calls:default": "4-0"}, "cursor of calls:default stands at 3-0.* begins at 4-0"),
        ({"calls:default": BEGINNING}, "cursor of calls:default stands at 3-0"),
        ({"calls:default": "3-0", "reports:default": "1-0"}, "cursor of reports:default stands at 0-0"),
    ],
)
def test_a_commit_that_begins_elsewhere_is_refused_and_changes_nothing(
    led: Store, cursor_from: dict[str, str], reason: str
) -> None:
    """The store forgot a tail, or another master of the same epoch was here: either way this master is wrong."""
    before = stored(led)
    with pytest.raises(CommitRefused, match=reason):
        led.commit(full_commit(1, cursor_from))
    assert stored(led) == before


def test_a_commit_is_refused_when_it_is_sent_again(led: Store) -> None:
    """So a master may find out whether a commit whose answer was lost has happened."""
    commit = full_commit(1, {"calls:default": "3-0"})
    led.commit(commit)
    after = stored(led)
    with pytest.raises(CommitRefused, match="cursor"):
        led.commit(commit)
    assert stored(led) == after


def test_of_two_masters_that_commit_the_same_step_exactly_one_wins(another: OpenStore) -> None:
    """Method: two threads, each believing to lead, commit step after step from a common start; one barrier per step."""
    steps = 50
    epoch = take_epoch(another())
    together = threading.Barrier(2)

    def lead(name: bytes, store: Store) -> list[bool]:
        won: list[bool] = []
        for step in range(steps):
            event = Append(stream="framework:f", payload=b"%s %d" % (name, step), max_length=1_000)
            together.wait()
            try:
                store.commit(
                    Commit(
                        epoch=epoch,
                        cursor_from={"calls:default": f"{step}-0"},
                        cursor_to={"calls:default": f"{step + 1}-0"},
                        appends=[event],
                    )
                )
                won.append(True)
            except CommitRefused:
                won.append(False)
        return won

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.submit(lead, b"one", another()), pool.submit(lead, b"other", another())
        wins = list(zip(one.result(), other.result(), strict=True))

    assert [sum(pair) for pair in wins] == [1] * steps
    assert payloads_of(another(), "framework:f") == [
        b"%s %d" % (b"one" if first else b"other", step) for step, (first, _) in enumerate(wins)
    ]


def test_a_master_whose_epoch_was_taken_commits_no_more(another: OpenStore) -> None:
    old, new = another(), another()
    old_epoch = take_epoch(old)
    old.commit(Commit(epoch=old_epoch, cursor_from={}, cursor_to={}, registry={"a": b"old"}))
    new_epoch = take_epoch(new)

    with pytest.raises(CommitRefused, match="epoch"):
        old.commit(Commit(epoch=old_epoch, cursor_from={}, cursor_to={}, registry={"a": b"older"}))

    new.commit(Commit(epoch=new_epoch, cursor_from={}, cursor_to={}, registry={"b": b"new"}))
    assert new.registry() == {"a": b"old", "b": b"new"}


# Plain keys


def test_a_value_is_kept_and_replaced(another: OpenStore) -> None:
    one, other = another(), another()
    assert one.get("leader") is None
    one.put("leader", b"\x00one")
    assert other.get("leader") == b"\x00one"
    other.put("leader", b"other", ttl_ms=LONG_MS)
    assert one.get("leader") == b"other"


@pytest.mark.parametrize("key", ["epoch", "cursor", "registry"])
def test_the_keys_of_the_commit_cannot_be_put(store: Store, key: str) -> None:
    with pytest.raises(AssertionError, match=key):
        store.put(key, b"x")


def test_a_value_expires(store: Store) -> None:
    store.put("leader", b"me", ttl_ms=30)
    assert eventually(lambda: store.get("leader") is None)


def test_a_value_put_again_without_expiry_stays(store: Store) -> None:
    store.put("leader", b"me", ttl_ms=30)
    store.put("other", b"me", ttl_ms=30)
    store.put("leader", b"me")
    assert eventually(lambda: store.get("other") is None)
    assert store.get("leader") == b"me"
