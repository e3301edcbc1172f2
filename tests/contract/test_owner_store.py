"""What is asked of a broker about owned messages: one suite for the memory and for a real Redis, whose scripts it binds."""

from collections.abc import Iterator
from itertools import count
from typing import Final, Protocol, cast

import pytest
import redis

from mesolite.frameworks.celery.broker import requests as requests_module
from mesolite.frameworks.celery.broker.memory import RESTORE_DEPTH, MemoryBroker, MemoryStore
from mesolite.frameworks.celery.broker.redis_store import RedisStore
from mesolite.frameworks.celery.broker.requests import (
    MAX_ASIDE,
    Busy,
    Fenced,
    Goes,
    Guard,
    Held,
    Life,
    OwnerKeys,
    OwnerStore,
    Take,
    Taken,
    Writes,
    owner_keys,
)
from mesolite.transport.redis_client import connect

LEASE_MS: Final = 60_000
_owners: Final = count(1)


class Broker(Protocol):
    """A broker, the store on it, and a look behind it."""

    @property
    def store(self) -> OwnerStore: ...
    def key(self, queue: str) -> str: ...
    def push(self, key: str, *messages: bytes) -> None: ...
    def queue(self, key: str) -> list[bytes]: ...
    def aside(self) -> list[bytes]: ...
    def lease_lapses(self) -> None: ...
    def forget_guard(self) -> None: ...
    def forget_owned(self, item_id: str) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self._broker = MemoryBroker()
        self.store = MemoryStore(self._broker)

    def key(self, queue: str) -> str:
        return queue

    def push(self, key: str, *messages: bytes) -> None:
        for message in messages:
            self._broker.push(key, message)

    def queue(self, key: str) -> list[bytes]:
        return list(reversed(self._broker.queues.get(key, [])))

    def aside(self) -> list[bytes]:
        return self._broker.aside

    def lease_lapses(self) -> None:
        self._broker.now_ms += LEASE_MS

    def forget_guard(self) -> None:
        self._broker.guard = None

    def forget_owned(self, item_id: str) -> None:
        del self._broker.owned[item_id]


class OnRedis:
    def __init__(self, url: str, owner: str) -> None:
        self.owner = owner
        self.client = connect(url)
        self._keys: OwnerKeys = owner_keys("contract:", owner)
        self.store = RedisStore(self.client, self._keys, owner)

    def key(self, queue: str) -> str:
        return f"{self.owner}:{queue}"

    def push(self, key: str, *messages: bytes) -> None:
        for message in messages:
            self.client.lpush(key, message)

    def queue(self, key: str) -> list[bytes]:
        return list(reversed(cast("list[bytes]", self.client.lrange(key, 0, -1))))

    def aside(self) -> list[bytes]:
        return cast("list[bytes]", self.client.lrange(self._keys.aside, 0, -1))

    def lease_lapses(self) -> None:
        self.client.delete(self._keys.lease)

    def forget_guard(self) -> None:
        self.client.delete(self._keys.guard)

    def forget_owned(self, item_id: str) -> None:
        self.client.hdel(self._keys.owned, item_id)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "memory":
        yield InMemory()
        return
    url: str = request.getfixturevalue("redis_url")
    made = OnRedis(url, f"owner-{next(_owners)}")
    with made.client:
        made.client.script_flush()
        yield made


@pytest.fixture
def guard(broker: Broker) -> Guard:
    """Of a life that began."""
    return begun(broker, "one")


def begun(broker: Broker, salt: str) -> Guard:
    life = broker.store.claim(salt, LEASE_MS)
    assert isinstance(life, Life)
    return Guard(life, 0)


def take(
    broker: Broker,
    *keys: list[str],
    prefix: str = "1.s.1",
    count: int = 10,
    max_bytes: int = 10_000,
    rotating: bool = True,
) -> Take:
    return Take(prefix, [[broker.key(key) for key in step] for step in keys], count, max_bytes, rotating)


def messages(taken: Taken) -> list[bytes]:
    return [message for _, _, message in taken.items]


def test_what_is_taken_is_out_of_its_queue_and_owned_in_the_order_it_was_put(broker: Broker, guard: Guard) -> None:
    key = broker.key("q")
    broker.push(key, b"1", b"\xff2")
    assert broker.store.take(guard, take(broker, ["q"])) == Taken(
        [("1.s.1.0", key, b"1"), ("1.s.1.1", key, b"\xff2")], True
    )
    assert broker.queue(key) == []
    assert broker.store.ids() == {"1.s.1.0", "1.s.1.1"}
    assert broker.store.held(["1.s.1.1", "unknown"]) == [Held("1.s.1.1", key, b"\xff2", "")]


def test_no_more_is_taken_than_asked_and_it_says_that_there_may_be_more(broker: Broker, guard: Guard) -> None:
    broker.push(broker.key("q"), b"1", b"2", b"3")
    taken = broker.store.take(guard, take(broker, ["q"], count=2))
    assert (messages(taken), taken.drained) == ([b"1", b"2"], False)
    assert broker.queue(broker.key("q")) == [b"3"]


def test_a_take_ends_once_it_has_enough_bytes(broker: Broker, guard: Guard) -> None:
    broker.push(broker.key("q"), b"x" * 60, b"x" * 60, b"x" * 60)
    taken = broker.store.take(guard, take(broker, ["q"], max_bytes=100))
    assert (len(taken.items), taken.drained) == (2, False)


def test_queues_of_one_priority_take_turns_and_priorities_do_not(broker: Broker, guard: Guard) -> None:
    broker.push(broker.key("a"), b"a1", b"a2", b"a3")
    broker.push(broker.key("b"), b"b1", b"b2")
    broker.push(broker.key("a-low"), b"low")
    taken = broker.store.take(guard, take(broker, ["a", "b"], ["a-low", "b-low"]))
    assert messages(taken) == [b"a1", b"b1", b"a2", b"b2", b"a3", b"low"]


def test_queues_that_do_not_take_turns_are_emptied_one_after_the_other(broker: Broker, guard: Guard) -> None:
    broker.push(broker.key("a"), b"a1", b"a2")
    broker.push(broker.key("b"), b"b1")
    taken = broker.store.take(guard, take(broker, ["b", "a"], rotating=False))
    assert messages(taken) == [b"b1", b"a1", b"a2"]


def test_turns_go_on_from_one_priority_to_the_next(broker: Broker, guard: Guard) -> None:
    broker.push(broker.key("a"), b"a1")
    broker.push(broker.key("a-low"), b"a2")
    broker.push(broker.key("b-low"), b"b2")
    taken = broker.store.take(guard, take(broker, ["a", "b"], ["a-low", "b-low"]))
    assert messages(taken) == [b"a1", b"b2", b"a2"]


def test_what_ended_is_forgotten_with_its_state(broker: Broker, guard: Guard) -> None:
    broker.push(broker.key("q"), b"1")
    broker.store.take(guard, take(broker, ["q"]))
    broker.store.write(guard, Writes(states=[("1.s.1.0", "gt")]))
    assert broker.store.held(["1.s.1.0"])[0].state == "gt"
    broker.store.write(guard, Writes(ended=["1.s.1.0"]))
    broker.store.restore(guard, [Held("1.s.1.0", broker.key("q"), b"1", "")])
    assert broker.store.held(["1.s.1.0"])[0].state == ""


def test_the_state_of_what_was_not_given_after_all_is_forgotten(broker: Broker, guard: Guard) -> None:
    broker.push(broker.key("q"), b"1")
    broker.store.take(guard, take(broker, ["q"]))
    broker.store.write(guard, Writes(states=[("1.s.1.0", "gt")]))
    broker.store.write(guard, Writes(states=[("1.s.1.0", "")]))
    assert broker.store.held(["1.s.1.0"])[0].state == ""


@pytest.mark.parametrize(("first", "expected"), [(True, [b"new", b"there"]), (False, [b"there", b"new"])])
def test_what_goes_back_goes_once_to_the_end_it_is_said_to(
    broker: Broker, guard: Guard, first: bool, expected: list[bytes]
) -> None:
    key = broker.key("q")
    broker.push(key, b"1")
    broker.store.take(guard, take(broker, ["q"]))
    broker.push(key, b"there")
    writes = Writes(going=[Goes("1.s.1.0", key, first, b"new")])
    broker.store.write(guard, writes)
    broker.store.write(guard, writes)
    assert broker.queue(key) == expected
    assert broker.store.ids() == set()


def test_what_is_set_aside_is_kept_once_newest_first_and_only_so_many(
    broker: Broker, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("memory", "redis_store"):
        monkeypatch.setattr(f"mesolite.frameworks.celery.broker.{module}.MAX_ASIDE", 2)
    broker.push(broker.key("q"), b"1", b"2", b"3")
    broker.store.take(guard, take(broker, ["q"]))
    for number in range(3):
        writes = Writes(aside=[(f"1.s.1.{number}", b"entry %d" % number)])
        broker.store.write(guard, writes)
        broker.store.write(guard, writes)
    assert broker.aside() == [b"entry 2", b"entry 1"]
    assert broker.store.ids() == set()
    assert requests_module.MAX_ASIDE == MAX_ASIDE


def test_the_name_is_had_by_one_at_a_time_and_free_when_its_lease_lapses(broker: Broker) -> None:
    first = begun(broker, "one")
    busy = broker.store.claim("two", LEASE_MS)
    assert isinstance(busy, Busy)
    assert 0 < busy.lapses_in_ms <= LEASE_MS
    broker.lease_lapses()
    second = begun(broker, "two")
    assert second.life.number == first.life.number + 1


def test_the_name_is_free_when_its_owner_leaves(broker: Broker, guard: Guard) -> None:
    broker.store.leave(guard)
    assert begun(broker, "two").life.number == guard.life.number + 1


def test_whoever_was_superseded_changes_nothing(broker: Broker, guard: Guard) -> None:
    key = broker.key("q")
    broker.push(key, b"1", b"2")
    broker.store.take(guard, take(broker, ["q"], count=1))
    broker.lease_lapses()
    begun(broker, "two")
    with pytest.raises(Fenced):
        broker.store.take(guard, take(broker, ["q"], prefix="1.s.2"))
    with pytest.raises(Fenced):
        broker.store.write(guard, Writes(ended=["1.s.1.0"]))
    with pytest.raises(Fenced):
        broker.store.restore(guard, [Held("1.s.9.0", key, b"9", "")])
    assert not broker.store.renew(guard, LEASE_MS)
    assert not broker.store.enter(Guard(guard.life, 1), LEASE_MS)
    broker.store.leave(guard)
    assert isinstance(broker.store.claim("three", LEASE_MS), Busy)
    assert broker.queue(key) == [b"2"]
    assert broker.store.ids() == {"1.s.1.0"}


def test_what_an_older_connection_had_on_its_way_is_void(broker: Broker, guard: Guard) -> None:
    broker.push(broker.key("q"), b"1")
    assert broker.store.enter(Guard(guard.life, 1), LEASE_MS)
    with pytest.raises(Fenced):
        broker.store.take(guard, take(broker, ["q"]))
    assert messages(broker.store.take(Guard(guard.life, 1), take(broker, ["q"]))) == [b"1"]


def test_a_life_that_a_failover_forgot_goes_on_and_one_it_never_knew_of_with_the_same_number_does_not(
    broker: Broker,
) -> None:
    first = begun(broker, "one")
    broker.forget_guard()
    assert not broker.store.renew(first, LEASE_MS)
    broker.lease_lapses()
    second = begun(broker, "two")
    assert second.life.number == first.life.number
    assert not broker.store.enter(Guard(first.life, 1), LEASE_MS)
    assert broker.store.enter(Guard(second.life, 1), LEASE_MS)


def test_a_life_enters_where_an_older_one_is_remembered(broker: Broker) -> None:
    first = begun(broker, "one")
    newer = Guard(Life(first.life.number + 1, "two"), 4)
    assert broker.store.enter(newer, LEASE_MS)
    assert broker.store.renew(newer, LEASE_MS)
    assert not broker.store.enter(Guard(first.life, 9), LEASE_MS)


def test_a_message_whose_take_was_forgotten_is_owned_again_and_out_of_its_queue(broker: Broker, guard: Guard) -> None:
    key = broker.key("q")
    broker.push(key, b"1")
    broker.store.take(guard, take(broker, ["q"]))
    broker.forget_owned("1.s.1.0")
    broker.push(key, b"1", b"2")
    broker.store.restore(guard, [Held("1.s.1.0", key, b"1", "gt")])
    assert broker.queue(key) == [b"2"]
    assert broker.store.held(["1.s.1.0"]) == [Held("1.s.1.0", key, b"1", "gt")]


def test_owning_again_what_is_owned_changes_nothing_but_its_state(broker: Broker, guard: Guard) -> None:
    key = broker.key("q")
    broker.push(key, b"1", b"1")
    broker.store.take(guard, take(broker, ["q"], count=1))
    broker.store.restore(guard, [Held("1.s.1.0", key, b"1", "gt")])
    assert broker.queue(key) == [b"1"]
    assert broker.store.held(["1.s.1.0"])[0].state == "gt"


def test_a_message_is_looked_for_in_its_queue_only_near_the_end_it_is_taken_from(broker: Broker, guard: Guard) -> None:
    key = broker.key("q")
    broker.push(key, *(b"%d" % number for number in range(RESTORE_DEPTH)), b"deep")
    broker.store.restore(guard, [Held("1.s.1.0", key, b"deep", "")])
    assert len(broker.queue(key)) == RESTORE_DEPTH + 1
    assert broker.store.ids() == {"1.s.1.0"}


@pytest.mark.redis
def test_a_queue_that_is_no_list_stops_a_take_without_losing_what_it_had(redis_url: str) -> None:
    broker = OnRedis(redis_url, f"owner-{next(_owners)}")
    with broker.client:
        guard = begun(broker, "one")
        broker.push(broker.key("a"), b"1")
        broker.client.set(broker.key("b"), "no list")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            broker.store.take(guard, take(broker, ["a", "b"]))
        assert [held.message for held in broker.store.held(["1.s.1.0"])] == [b"1"]


@pytest.mark.redis
def test_a_message_that_cannot_be_written_down_stays_in_its_queue(redis_url: str) -> None:
    broker = OnRedis(redis_url, f"owner-{next(_owners)}")
    with broker.client:
        guard = begun(broker, "one")
        broker.push(broker.key("a"), b"1", b"2")
        broker.client.set(owner_keys("contract:", broker.owner).owned, "no hash")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            broker.store.take(guard, take(broker, ["a"]))
        assert broker.queue(broker.key("a")) == [b"1", b"2"]
