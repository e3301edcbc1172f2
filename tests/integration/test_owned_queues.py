"""Messages consumed by our kombu transport from a real Redis: none is lost, none comes twice, whatever breaks."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
import redis

from mesolite.embedded_redis import EmbeddedRedis
from mesolite.errors import ConfigError, Superseded
from mesolite.frameworks.celery.broker import opening, redis_store, standing
from mesolite.frameworks.celery.broker.decoding import Layout
from mesolite.frameworks.celery.broker.requests import owner_keys
from mesolite.transport.redis_client import connect
from tests.waiting import eventually

from .owning_rig import OwningConsumer, owning_consumer, producer, raw_message

pytestmark = pytest.mark.redis

SEPARATOR: Final = "\x06\x16"


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of these tests' own: they close all its connections, and others' servers live on the shared one."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


class Line:
    """One queue and one owner that no other test has."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self.client, self.owner, self.prefix = client, name, f"{name}:"
        self.options = {"global_keyprefix": self.prefix}
        self.keys = owner_keys(self.prefix, name)

    def push(self, *messages: bytes, queue: str = "celery") -> None:
        for message in messages:
            self.client.lpush(self.prefix + queue, message)

    def length(self, queue: str = "celery") -> int:
        return self.client.llen(self.prefix + queue)

    def owned(self) -> int:
        return self.client.hlen(self.keys.owned)

    def first(self, queue: str = "celery") -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(cast("bytes", self.client.lindex(self.prefix + queue, -1))))


@pytest.fixture
def line(client: redis.Redis, cluster: str) -> Line:
    return Line(client, cluster)


def test_twenty_thousand_messages_come_once_each(redis_url: str, line: Line) -> None:
    tags = [f"tag-{number}" for number in range(20_000)]
    pipeline = line.client.pipeline(transaction=False)
    for tag in tags:
        pipeline.lpush(line.prefix + "celery", raw_message(tag))
    pipeline.execute()
    with owning_consumer(redis_url, line.owner, prefetch=8, options=line.options) as consumer:
        consumer.until(len(tags), within_s=60)
        consumer.settle()
        assert consumer.tags == tags
        assert (line.length(), line.owned()) == (0, 0)


def test_tasks_of_an_unmodified_producer_come_with_all_they_say(redis_url: str, line: Line) -> None:
    app: Any = producer(redis_url, line.options)
    sent = app.send_task("a.task", (1,), {"b": 2}, queue="celery", priority=6, countdown=5)
    with owning_consumer(redis_url, line.owner, prefetch=1, options=line.options) as consumer:
        consumer.until(1)
        (message,) = consumer.got
        assert message.headers["id"] == sent.id
        assert message.headers["task"] == "a.task"
        assert message.decode()[:2] == [[1], {"b": 2}]


def test_a_message_wakes_an_idle_consumer_at_once(redis_url: str, line: Line) -> None:
    with owning_consumer(redis_url, line.owner, options=line.options) as consumer:
        consumer.drain()
        for number in range(5):
            consumer.drain(0.1)
            began_s = time.monotonic()
            line.push(raw_message())
            consumer.until(number + 1)
            assert time.monotonic() - began_s < 0.5


def test_a_message_that_comes_between_a_take_and_its_answer_is_not_missed(redis_url: str, line: Line) -> None:
    """Method: the bell is heard before the answer to the take that found nothing, as when a loop reads both in one turn."""
    with owning_consumer(redis_url, line.owner, options=line.options) as consumer:
        consumer.drain()
        consumption: Any = consumer.connection.transport.cycle.consumption
        consumption._hungry = True
        consumption.turn()
        eventually(lambda: consumption.line.line.connection.can_read(timeout=0))
        line.push(raw_message())
        eventually(lambda: consumption.line.bell.connection.can_read(timeout=0))
        consumption.on_bell()
        consumption.on_line()
        began_s = time.monotonic()
        consumer.until(1)
        assert time.monotonic() - began_s < 0.5


def test_only_others_ring_the_bell(redis_url: str, line: Line) -> None:
    """Method: messages are acknowledged one by one, then one goes back to its queue, which is taken again without a bell."""
    with owning_consumer(redis_url, line.owner, acks=False, options=line.options) as consumer:
        consumer.drain()
        consumption: Any = consumer.connection.transport.cycle.consumption
        heard, hear = Counter[bool](), consumption.line.hear

        def listen() -> bool:
            rang: bool = hear()
            heard[rang] += 1
            return rang

        consumption.line.hear = listen
        for number in range(20):
            line.push(raw_message(str(number)))
            consumer.until(number + 1)
            consumer.got[number].ack()
            consumer.settle()
        assert 1 <= heard[True] <= 20
        line.push(raw_message("back"))
        consumer.until(21)
        rung = heard[True]
        consumer.ownership.give(["back"])
        consumer.got[20].reject(requeue=True)
        began_s = time.monotonic()
        consumer.until(22)
        assert time.monotonic() - began_s < 0.5
        assert heard[True] == rung


def test_messages_of_higher_priority_come_first_and_queues_take_turns(redis_url: str, line: Line) -> None:
    for tag, queue, step in (
        ("a", "one", ""),
        ("b", "one", ""),
        ("c", "two", ""),
        ("d", "two", "9"),
        ("e", "one", "3"),
    ):
        line.push(raw_message(tag), queue=f"{queue}{SEPARATOR}{step}" if step else queue)
    with owning_consumer(redis_url, line.owner, queues=("one", "two"), options=line.options) as consumer:
        consumer.until(5)
        assert consumer.tags == ["a", "c", "b", "e", "d"]


def test_no_more_is_delivered_than_the_prefetch_count_and_no_more_taken(redis_url: str, line: Line) -> None:
    line.push(*(raw_message(str(number)) for number in range(10)))
    with owning_consumer(redis_url, line.owner, prefetch=3, acks=False, options=line.options) as consumer:
        consumer.until(3)
        consumer.drain()
        assert (len(consumer.got), line.length(), line.owned()) == (3, 7, 3)
        consumer.got[0].ack()
        consumer.until(4)
        assert consumer.tags == ["0", "1", "2", "3"]


def test_rejected_messages_go_back_as_the_last_or_are_forgotten(redis_url: str, line: Line) -> None:
    line.push(raw_message("back"), raw_message("gone"))
    with owning_consumer(redis_url, line.owner, prefetch=2, acks=False, options=line.options) as consumer:
        consumer.until(2)
        consumer.got[1].reject()
        consumer.ownership.give(["back"])
        consumer.got[0].reject(requeue=True)
        consumer.until(3)
        again = consumer.got[2]
        assert again.delivery_tag == "back"
        assert again.delivery_info["redelivered"]
        assert (consumer.ownership.losses("back"), consumer.ownership.returns("back")) == (1, 1)
        consumer.settle()
        assert line.owned() == 1


def test_a_lost_connection_delivers_again_what_was_not_given_and_nothing_else(redis_url: str, line: Line) -> None:
    line.push(*(raw_message(tag) for tag in ("acked", "given", "reserved", "early")))
    with owning_consumer(redis_url, line.owner, prefetch=4, acks=False, options=line.options) as consumer:
        consumer.until(4)
        acked, given, _, early = consumer.got
        consumer.ownership.give(["given", "early"])
        acked.ack()
        early.ack()
        kill_connections(line.client)
        consumer.until(5)
        assert consumer.tags[4:] == ["reserved"]
        # What Celery has of the lost connection it acknowledges there.
        given.ack()
        consumer.ownership.end("given")
        consumer.settle()
        assert line.owned() == 2
        consumer.ownership.end("early")
        consumer.got[4].ack()
        consumer.settle()
        assert line.owned() == 0


def test_many_lost_connections_lose_and_repeat_nothing(redis_url: str, line: Line) -> None:
    tags = [str(number) for number in range(2_000)]
    line.push(*map(raw_message, tags))
    with owning_consumer(redis_url, line.owner, prefetch=8, options=line.options) as consumer:
        for share in range(1, 11):
            kill_connections(line.client)
            consumer.until(share * 200)
        consumer.settle()
        # What was acknowledged when its connection was lost is not delivered again, for the book outlives it.
        assert consumer.tags == tags
        assert line.owned() == 0


def kill_connections(client: redis.Redis) -> None:
    """Have Redis close all connections but the one that asks."""
    client.client_kill_filter(_type="normal", skipme=True)
    client.client_kill_filter(_type="pubsub", skipme=True)


def test_the_next_life_gets_all_that_was_owned_and_knows_what_was_given(redis_url: str, line: Line) -> None:
    line.push(*(raw_message(tag) for tag in ("reserved", "given", "early", "done")))
    first = OwningConsumer(redis_url, line.owner, prefetch=4, acks=False, options=line.options)
    first.until(4)
    first.ownership.give(["given", "early"])
    first.got[2].ack()
    first.got[3].ack()
    first.settle()
    first.die()
    with owning_consumer(redis_url, line.owner, prefetch=4, acks=False, options=line.options) as second:
        second.until(3)
        assert sorted(second.tags) == ["early", "given", "reserved"]
        assert second.tags[2] == "reserved"
        assert all(message.delivery_info["redelivered"] for message in second.got)
        known = second.ownership
        assert [known.was_given(tag) for tag in ("reserved", "given", "early")] == [False, True, True]
        assert [known.was_acknowledged(tag) for tag in ("reserved", "given", "early")] == [False, False, True]


def test_a_dispatcher_that_was_superseded_ends_and_changes_nothing(redis_url: str, line: Line) -> None:
    line.push(raw_message("t"))
    first = OwningConsumer(redis_url, line.owner, prefetch=1, acks=False, options=line.options)
    first.until(1)
    line.client.delete(line.keys.lease)
    with owning_consumer(redis_url, line.owner, prefetch=1, acks=False, options=line.options) as second:
        second.until(1)
        first.got[0].ack()
        assert not first.ownership.store.renew(first.ownership.guard, 1_000)
        with pytest.raises(Superseded):
            first.drain_same_connection()
        second.settle()
        assert line.owned() == 1
    first.ownership.close(release=True)
    assert line.length() == 1


def test_the_second_of_a_name_waits_until_the_first_leaves(redis_url: str, line: Line) -> None:
    line.push(raw_message("t"))
    first = OwningConsumer(redis_url, line.owner, prefetch=1, acks=False, options=line.options)
    first.until(1)
    second = OwningConsumer(redis_url, line.owner, prefetch=1, acks=False, options=line.options)
    looks: list[float] = []

    def look() -> None:
        looks.append(time.monotonic())
        if len(looks) == 2:
            first.ownership.close(release=False)

    second.ownership.while_waiting = look
    second.until(1)
    assert second.tags == ["t"]
    assert len(looks) >= 2
    second.close()


def test_closing_in_order_gives_back_what_was_not_given_in_its_order(redis_url: str, line: Line) -> None:
    line.push(*(raw_message(tag) for tag in ("a", "b", "c", "d")))
    with owning_consumer(redis_url, line.owner, prefetch=3, acks=False, options=line.options) as consumer:
        consumer.until(3)
        consumer.ownership.give(["b"])
    assert line.length() == 3
    assert line.first()["properties"]["delivery_tag"] == "a"
    assert line.first()["properties"]["delivery_info"]["redelivered"]
    assert line.owned() == 1


def test_cancelling_a_queue_gives_back_what_waits_for_it(redis_url: str, line: Line) -> None:
    with owning_consumer(
        redis_url, line.owner, queues=("one", "two"), prefetch=1, acks=False, options=line.options
    ) as consumer:
        line.push(raw_message("held"), queue="one")
        consumer.until(1)
        consumer.consumer.cancel_by_queue("two")
        line.push(raw_message(), queue="two")
        consumer.drain()
        assert line.length("two") == 1
        assert line.owned() == 1


@pytest.mark.parametrize("raw", [b"\xff\x00", b"no json", b"[]", b"{}", b'{"properties": {}}'])
def test_what_is_no_message_is_set_aside_and_the_next_comes(redis_url: str, line: Line, raw: bytes) -> None:
    line.push(raw, raw_message("good"))
    with owning_consumer(redis_url, line.owner, options=line.options) as consumer:
        consumer.until(1)
        consumer.settle()
        assert consumer.tags == ["good"]
        (entry,) = standing.aside(line.client, line.owner, prefix=line.prefix)
        assert (entry.key, entry.message) == (f"{line.prefix}celery", raw)
        assert "not a message of kombu" in entry.why
        assert line.owned() == 0


def test_a_message_whose_body_is_not_in_its_encoding_is_set_aside(redis_url: str, line: Line) -> None:
    line.push(raw_message("bad", body="not base64!"), raw_message("good"))
    with owning_consumer(redis_url, line.owner, options=line.options) as consumer:
        consumer.until(1)
        consumer.settle()
        assert consumer.tags == ["good"]
        assert len(standing.aside(line.client, line.owner, prefix=line.prefix)) == 1


def test_what_was_set_aside_is_put_back_and_comes_again(redis_url: str, line: Line) -> None:
    line.push(raw_message("poison"))
    with owning_consumer(redis_url, line.owner, acks=False, options=line.options) as consumer:
        consumer.until(1)
        consumer.ownership.set_aside("poison", "it killed three workers")
        consumer.settle()
        (entry,) = standing.aside(line.client, line.owner, prefix=line.prefix)
        assert entry.why == "it killed three workers"
        assert standing.put_back(line.client, line.owner, prefix=line.prefix) == 1
        consumer.until(2)
        assert consumer.got[1].delivery_tag != "poison"
        assert standing.aside(line.client, line.owner, prefix=line.prefix) == []


def test_what_a_dispatcher_left_that_never_starts_again_is_released(redis_url: str, line: Line) -> None:
    line.push(*(raw_message(tag) for tag in ("a", "b", "given")))
    first = OwningConsumer(redis_url, line.owner, prefetch=3, acks=False, options=line.options)
    first.until(3)
    first.ownership.give(["given"])
    first.settle()
    first.die()
    (told,) = standing.standings(line.client, line.prefix)
    assert told == standing.Standing(line.owner, False, 3, 1, 0)
    layout = Layout(line.prefix, SEPARATOR)
    assert standing.release(line.client, line.owner, layout=layout) == 2
    assert (line.length(), line.owned()) == (2, 1)
    assert line.first()["properties"]["delivery_tag"] == "a"
    assert standing.release(line.client, line.owner, layout=layout, given=True) == 1
    assert (line.length(), line.owned()) == (3, 0)


def test_where_redis_may_not_ring_the_queues_are_looked_at(redis_url: str, line: Line) -> None:
    """Method: a user who may do all but have its reads tracked."""
    user = line.owner
    execute: Callable[..., Any] = line.client.execute_command
    execute("ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all", "-client")
    url = redis_url_of_user(redis_url, user)
    with owning_consumer(url, line.owner, options=line.options) as consumer:
        consumer.drain()
        line.push(raw_message("t"))
        consumer.until(1, within_s=5)
        assert consumer.tags == ["t"]


def redis_url_of_user(url: str, user: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{user}:secret@{rest.rpartition('@')[2]}"


def test_a_second_connection_of_the_process_leaves_the_queues_to_the_first(redis_url: str, line: Line) -> None:
    with owning_consumer(redis_url, line.owner, prefetch=1, options=line.options) as consumer:
        consumer.drain()
        before = consumer.connection.transport.cycle.consumption
        other = consumer.connection.clone()
        other.transport_options = line.options
        channel = other.default_channel
        assert channel.connection.cycle.consumption_for(channel.connection) is None
        assert before.is_live
        other.close()


def test_after_a_flush_of_redis_what_was_owned_is_owned_again(redis_url: str, line: Line) -> None:
    line.push(raw_message("t"))
    with owning_consumer(redis_url, line.owner, prefetch=1, acks=False, options=line.options) as consumer:
        consumer.until(1)
        consumer.ownership.give(["t"])
        for key in (line.keys.guard, line.keys.owned, line.keys.states, line.keys.lease):
            line.client.delete(key)
        consumer.drain_until(lambda: line.owned() == 1)
        assert line.client.hvals(line.keys.states) == [b"gt"]
        consumer.got[0].ack()
        consumer.ownership.end("t")
        consumer.settle()
        assert line.owned() == 0


def test_a_name_is_claimed_before_anything_is_consumed(redis_url: str, line: Line) -> None:
    line.push(raw_message("t"))
    with owning_consumer(redis_url, line.owner, prefetch=1, acks=False, options=line.options) as consumer:
        opening.claim(consumer.ownership, consumer.connection)
        assert line.length() == 1
        assert line.client.exists(line.keys.lease)
        consumer.until(1)
        assert consumer.tags == ["t"]


def test_what_is_owned_of_a_queue_that_is_not_consumed_any_more_goes_back(
    redis_url: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.push(raw_message("t"), queue="former")
    first = OwningConsumer(redis_url, line.owner, ["former"], prefetch=1, acks=False, options=line.options)
    first.until(1)
    first.die()
    monkeypatch.setattr("mesolite.frameworks.celery.broker.consuming.UNCONSUMED_S", 0.2)
    with owning_consumer(redis_url, line.owner, options=line.options) as second:
        second.drain_until(lambda: line.length("former") == 1)
        assert line.owned() == 0
        assert line.first("former")["properties"]["delivery_info"]["redelivered"]


def test_a_redis_that_is_too_old_is_refused(redis_url: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesolite.frameworks.celery.broker.redis_store.MIN_VERSION", (99, 0))
    with (
        owning_consumer(redis_url, line.owner, options=line.options) as consumer,
        pytest.raises(ConfigError, match=r"needs 99\.0 or newer"),
    ):
        opening.claim(consumer.ownership, consumer.connection)


@pytest.mark.parametrize("off_s", [90, -90, 0])
def test_a_clock_that_differs_from_the_brokers_is_told_of(
    redis_url: str, line: Line, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, off_s: int
) -> None:
    monkeypatch.setattr(redis_store, "time", SimpleNamespace(time=lambda: time.time() + off_s))
    with owning_consumer(redis_url, line.owner, options=line.options) as consumer:
        line.push(raw_message("one"))
        consumer.until(1)
    told = [each.getMessage() for each in caplog.records if "clock_skew" in each.getMessage()]
    assert len(told) == (1 if off_s else 0)
    assert all(f"{off_s}.0" in each for each in told)
