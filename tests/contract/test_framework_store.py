"""What a framework keeps for its next scheduler: on the memory store and on a real Redis."""

import pytest

from mesolite.clock import ManualClock
from mesolite.errors import BadInput, RedisUnavailable, Superseded
from mesolite.frameworks.driver.framework_store import (
    MAX_NAME_LENGTH,
    MAX_NAMES,
    MAX_TOTAL_BYTES,
    MAX_VALUE_BYTES,
    FrameworkStore,
)
from mesolite.ids import FrameworkId
from mesolite.transport import Commit, MemoryBroker, MemoryStore, Store
from mesolite.transport.keys import framework_state
from tests.leading import take_epoch

from .stores import OpenStore

F = FrameworkId("futures-1")


def test_the_next_scheduler_gets_what_the_last_one_kept(another: OpenStore) -> None:
    first = FrameworkStore(another(), F)
    first.put("jobs", b"\x00\xff three of them")
    first.change({"started": b"17", "note": b"", "gone": b"soon"})
    first.delete("gone")
    second = FrameworkStore(another(), F)
    assert (
        dict(second.values) == dict(first.values) == {"jobs": b"\x00\xff three of them", "started": b"17", "note": b""}
    )
    assert second.get("started") == b"17"
    assert second.get("gone") is None


def test_a_scheduler_that_was_superseded_cannot_write_over_its_successor(another: OpenStore) -> None:
    first = FrameworkStore(another(), F)
    first.put("position", b"1")
    second = FrameworkStore(another(), F)
    second.put("position", b"2")
    for change in ({"position": b"3"}, {"position": None}, {"more": b"x"}):
        with pytest.raises(Superseded):
            first.change(change)
    assert dict(FrameworkStore(another(), F).values) == {"position": b"2"}


def test_a_successor_that_only_reads_shuts_its_predecessor_out_all_the_same(another: OpenStore) -> None:
    first = FrameworkStore(another(), F)
    second = FrameworkStore(another(), F)
    with pytest.raises(Superseded):
        first.put("position", b"1")
    assert dict(second.values) == {}


def test_frameworks_do_not_see_each_other(another: OpenStore) -> None:
    FrameworkStore(another(), F).put("a", b"1")
    other = FrameworkStore(another(), FrameworkId("futures-10"))
    other.put("a", b"2")
    assert dict(FrameworkStore(another(), F).values) == {"a": b"1"}


def test_names_are_any_text(another: OpenStore) -> None:
    names = ["#", "=", "=#", "ünïcode", "a b\n", "1"]
    kept = FrameworkStore(another(), F)
    kept.change({name: name.encode() for name in names})
    kept.delete("1")
    assert dict(FrameworkStore(another(), F).values) == {name: name.encode() for name in names[:-1]}


def test_a_store_that_forgot_a_claim_knows_it_again_by_the_next_write(store: Store) -> None:
    """A failover lost the claim: the number of the one before is stored, and neither is to be refused for that."""
    key = framework_state(F)
    lost, _ = store.claim_state(key, at_least=1000)
    store.commit(Commit(epoch=take_epoch(store), cursor_from={}, cursor_to={}, delete_streams=(key,)))
    assert store.claim_state(key, at_least=1)[0] < lost
    assert store.change_state(key, lost, {"a": b"1"})
    assert store.claim_state(key, at_least=1)[0] == lost + 1


def test_a_store_that_forgot_everything_gives_no_number_twice(another: OpenStore) -> None:
    clock = ManualClock(now_ms=1_000_000)
    before = FrameworkStore(another(), F, clock)
    store = another()
    store.commit(Commit(epoch=take_epoch(store), cursor_from={}, cursor_to={}, delete_streams=(framework_state(F),)))
    clock.advance(1)
    FrameworkStore(another(), F, clock)
    with pytest.raises(Superseded):
        before.put("a", b"1")


def test_the_end_of_a_framework_deletes_what_it_kept(another: OpenStore) -> None:
    FrameworkStore(another(), F).put("a", b"1")
    store = another()
    store.commit(Commit(epoch=take_epoch(store), cursor_from={}, cursor_to={}, delete_streams=(framework_state(F),)))
    assert dict(FrameworkStore(another(), F).values) == {}


def test_the_bounds_are_kept_and_a_refused_change_changes_nothing(another: OpenStore) -> None:
    kept = FrameworkStore(another(), F)
    kept.put("a", b"1")
    value = bytes(MAX_VALUE_BYTES)
    refused: list[dict[str, bytes | None]] = [
        {"": b"1"},
        {"x" * (MAX_NAME_LENGTH + 1): b"1"},
        {"a": value + b"1"},
        {"b": b"2", **{f"n{number}": b"" for number in range(MAX_NAMES)}},
        {f"large{number}": value for number in range(MAX_TOTAL_BYTES // MAX_VALUE_BYTES)},
    ]
    for changes in refused:
        with pytest.raises(BadInput, match=r"allowed|at most"):
            kept.change(changes)
    assert dict(FrameworkStore(another(), F).values) == {"a": b"1"}


def test_room_that_was_given_back_can_be_used_again(another: OpenStore) -> None:
    kept = FrameworkStore(another(), F)
    value = bytes(MAX_VALUE_BYTES)
    full = MAX_TOTAL_BYTES // MAX_VALUE_BYTES - 1
    for number in range(full):
        kept.put(f"n{number}", value)
    with pytest.raises(BadInput):
        kept.put("more", value)
    kept.change({"n0": None, "more": value})
    kept.put("more", value)
    with pytest.raises(BadInput):
        FrameworkStore(another(), F).put("again", value)


def test_a_store_that_is_away_is_the_environments_fault() -> None:
    broker = MemoryBroker()
    kept = FrameworkStore(MemoryStore(broker), F)
    broker.available = False
    with pytest.raises(RedisUnavailable):
        kept.put("a", b"1")
    broker.available = True
    assert kept.get("a") is None
    kept.put("a", b"1")
    assert kept.get("a") == b"1"
