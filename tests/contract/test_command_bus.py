"""What a `CommandBus` promises: in memory, on kombu's memory transport, and on kombu over a real Redis."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final
from uuid import uuid4

import pytest

from mesolite.errors import RedisUnavailable
from mesolite.transport import CommandBus, MemoryBroker, MemoryBus, open_bus
from mesolite.transport.kombu_bus import KombuBus
from mesolite.transport.redis_client import connect

LONG_MS: Final = 20_000
LARGE: Final = bytes(range(256)) * 4 * 1024 * 5

OpenBus = Callable[[], CommandBus]


@pytest.fixture(params=["memory", "kombu-memory", pytest.param("kombu-redis", marks=pytest.mark.redis)])
def another(request: pytest.FixtureRequest, cluster: str) -> Iterator[OpenBus]:
    """Opens one more handle onto the same queues: a master, an agent, another thread."""
    broker = MemoryBroker()
    with ExitStack() as opened:

        def open_one() -> CommandBus:
            bus: CommandBus
            if request.param == "memory":
                bus = MemoryBus(broker)
            elif request.param == "kombu-memory":
                bus = KombuBus("memory://")
            else:
                bus = open_bus(request.getfixturevalue("redis_url"), cluster)
            opened.callback(bus.close)
            return bus

        yield open_one


@pytest.fixture
def bus(another: OpenBus) -> CommandBus:
    return another()


@pytest.fixture
def queue() -> str:
    """A queue no other test uses."""
    return f"mesolite.agent.{uuid4()}"


def send(bus: CommandBus, queue: str, *payloads: bytes) -> None:
    for payload in payloads:
        bus.send(queue, payload)


def test_messages_arrive_in_the_order_they_were_sent(another: OpenBus, queue: str) -> None:
    sent = [b"%d" % n for n in range(100)]
    send(another(), queue, *sent)
    assert another().receive(queue, limit=1_000, wait_ms=0) == sent


def test_messages_sent_together_arrive_each_in_its_queue_in_the_order_they_were_given(
    another: OpenBus, queue: str
) -> None:
    queues = [f"{queue}-{n}" for n in range(3)]
    sender = another()
    sender.send_many([])
    sender.send(queues[0], b"first")
    sender.send_many([(queues[n % 3], b"%d" % n) for n in range(2_500)])
    sender.send(queues[0], b"last")

    reader = another()
    taken = [reader.receive(name, limit=5_000, wait_ms=0) for name in queues]
    numbers = [[b"%d" % n for n in range(first, 2_500, 3)] for first in range(3)]
    assert taken == [[b"first", *numbers[0], b"last"], *numbers[1:]]


def test_large_messages_may_be_sent_together(another: OpenBus, queue: str) -> None:
    sent = [LARGE, b"", LARGE[1:], b"small"]
    another().send_many([(queue, payload) for payload in sent])
    assert another().receive(queue, limit=10, wait_ms=0) == sent


def test_who_waits_may_get_one_at_a_time_and_misses_none(another: OpenBus, queue: str) -> None:
    sent = [b"%d" % n for n in range(30)]
    another().send_many([(queue, payload) for payload in sent])
    reader = another()
    taken: list[bytes] = []
    while len(taken) < len(sent):
        taken += reader.receive(queue, limit=4, wait_ms=LONG_MS if len(taken) % 3 else 0)
    assert taken == sent


def test_messages_sent_together_wake_waiting_readers(another: OpenBus, queue: str) -> None:
    queues = [f"{queue}-{n}" for n in range(3)]
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(another().receive, name, limit=10, wait_ms=LONG_MS) for name in queues]
        another().send_many([(name, name.encode()) for name in queues])
        assert [each.result(LONG_MS / 1000) for each in waiting] == [[name.encode()] for name in queues]


def test_a_queue_needs_no_reader_to_be_sent_to(another: OpenBus, queue: str) -> None:
    send(another(), queue, b"early")
    assert another().receive(queue, limit=1, wait_ms=0) == [b"early"]


def test_a_message_is_taken_once(another: OpenBus, queue: str) -> None:
    one, other = another(), another()
    send(one, queue, b"x")
    assert one.receive(queue, limit=10, wait_ms=0) == [b"x"]
    assert other.receive(queue, limit=10, wait_ms=0) == []
    assert one.receive(queue, limit=10, wait_ms=0) == []


def test_two_readers_share_the_messages_of_a_queue(another: OpenBus, queue: str) -> None:
    one, other = another(), another()
    sent = [b"%d" % n for n in range(50)]
    send(one, queue, *sent)
    taken: list[bytes] = []
    while len(taken) < len(sent):
        taken += one.receive(queue, limit=3, wait_ms=0) + other.receive(queue, limit=3, wait_ms=0)
    assert taken == sent


def test_no_more_are_taken_than_asked_for(bus: CommandBus, queue: str) -> None:
    send(bus, queue, b"1", b"2", b"3")
    assert bus.receive(queue, limit=2, wait_ms=0) == [b"1", b"2"]
    assert bus.receive(queue, limit=2, wait_ms=LONG_MS) == [b"3"]


def test_a_wait_for_nothing_ends_by_itself(bus: CommandBus, queue: str) -> None:
    assert bus.receive(queue, limit=10, wait_ms=20) == []
    assert bus.receive(queue, limit=10, wait_ms=0) == []


def test_a_message_wakes_a_waiting_reader(another: OpenBus, queue: str) -> None:
    master, agent = another(), another()
    with ThreadPoolExecutor(1) as pool:
        for n in range(20):
            waiting = pool.submit(agent.receive, queue, limit=10, wait_ms=LONG_MS)
            send(master, queue, b"%d" % n)
            assert waiting.result(LONG_MS / 1000) == [b"%d" % n]


def test_what_came_after_a_wait_had_ended_is_taken_next_and_in_order(another: OpenBus, queue: str) -> None:
    """On Redis the ended wait leaves a pop standing at the server, which has the first message in its hands."""
    master, agent = another(), another()
    for wait_ms in (0, LONG_MS):
        assert agent.receive(queue, limit=10, wait_ms=5) == []
        send(master, queue, b"1", b"2", b"3")
        taken: list[bytes] = []
        while len(taken) < 3:
            taken += agent.receive(queue, limit=10, wait_ms=wait_ms)
        assert taken == [b"1", b"2", b"3"]


def test_queues_are_apart(bus: CommandBus, queue: str) -> None:
    queues = [f"{queue}-{n}" for n in range(200)]
    for name in queues:
        send(bus, name, name.encode())
    for name in reversed(queues[-20:]):
        assert bus.receive(name, limit=10, wait_ms=LONG_MS) == [name.encode()]
    assert bus.receive(queue, limit=10, wait_ms=0) == []


@pytest.mark.parametrize("payload", [b"", b"\x00\xff", bytes(range(256)), b'{"json": 1}', LARGE], ids=len)
def test_payloads_are_opaque_bytes(another: OpenBus, queue: str, payload: bytes) -> None:
    send(another(), queue, payload)
    assert another().receive(queue, limit=1, wait_ms=LONG_MS) == [payload]


def test_a_deleted_queue_is_empty_and_may_be_deleted_again(bus: CommandBus, queue: str) -> None:
    send(bus, queue, b"1", b"2")
    bus.delete(queue)
    bus.delete(queue)
    assert bus.receive(queue, limit=10, wait_ms=0) == []
    send(bus, queue, b"3")
    assert bus.receive(queue, limit=10, wait_ms=LONG_MS) == [b"3"]


def test_what_nobody_took_outlives_the_handles(another: OpenBus, queue: str) -> None:
    sender = another()
    send(sender, queue, b"x")
    sender.close()
    reader = another()
    assert reader.receive(queue, limit=1, wait_ms=0) == [b"x"]


def test_a_reader_that_closed_takes_nothing_more(another: OpenBus, queue: str) -> None:
    gone, reader = another(), another()
    assert gone.receive(queue, limit=1, wait_ms=5) == []
    gone.close()

    received: list[bytes] = []
    for n in range(10):
        send(reader, queue, b"%d" % n)
        received += reader.receive(queue, limit=1, wait_ms=200)

    # The first may still have gone to the pop of the closed reader, where the server had not noticed yet.
    assert received[-9:] == [b"%d" % n for n in range(1, 10)]


def test_a_memory_broker_that_is_away_says_so(queue: str) -> None:
    broker = MemoryBroker()
    bus = MemoryBus(broker)
    broker.available = False
    with pytest.raises(RedisUnavailable):
        bus.send(queue, b"x")
    with pytest.raises(RedisUnavailable):
        bus.send_many([(queue, b"x"), (queue, b"y")])
    with pytest.raises(RedisUnavailable):
        bus.receive(queue, limit=1, wait_ms=0)


@pytest.mark.redis
def test_on_redis_a_queue_is_one_list_and_nothing_else_is_written(redis_url: str, cluster: str, queue: str) -> None:
    """No binding, no unacknowledged messages, nothing that a visibility timeout could bring back."""
    with contextlib.closing(open_bus(redis_url, cluster)) as bus, contextlib.closing(connect(redis_url)) as client:
        before = set(client.scan_iter())
        send(bus, queue, b"1", b"2", b"3")
        assert set(client.scan_iter()) - before == {queue.encode()}
        assert bus.receive(queue, limit=1, wait_ms=LONG_MS) == [b"1"]
        assert set(client.scan_iter()) - before == {queue.encode()}
        assert bus.receive(queue, limit=5, wait_ms=0) == [b"2", b"3"]
        assert bus.receive(queue, limit=5, wait_ms=20) == []
        assert set(client.scan_iter()) - before == set()


@pytest.mark.redis
@pytest.mark.parametrize("stranger", [b"not json", b"{}", b"5", b'"text"', b'{"properties": {}}', b"\xff"])
def test_what_kombu_did_not_write_is_reported_and_passed_over(
    redis_url: str, cluster: str, queue: str, stranger: bytes
) -> None:
    with contextlib.closing(open_bus(redis_url, cluster)) as bus, contextlib.closing(connect(redis_url)) as client:
        for wait_ms in (0, LONG_MS):
            client.lpush(queue, stranger)
            send(bus, queue, b"x")
            with pytest.raises(RedisUnavailable, match="command queues"):
                bus.receive(queue, limit=10, wait_ms=wait_ms)
            assert bus.receive(queue, limit=10, wait_ms=wait_ms) == [b"x"]
