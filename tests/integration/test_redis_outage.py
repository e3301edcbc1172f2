"""Redis dies, hangs, fills up, and comes back: callers hear of it soon, and go on by themselves."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest

from mesolite.embedded_redis import EmbeddedRedis
from mesolite.errors import Unavailable
from mesolite.transport import BEGINNING, Append, CommandBus, Commit, Lease, Store, open_bus, open_store
from mesolite.transport.redis_client import BLOCK_TURN_MS, PROBE_EVERY_S, SOCKET_TIMEOUT_S, connect
from tests.leading import take_epoch
from tests.waiting import eventually

pytestmark = pytest.mark.redis

QUEUE: Final = "mesolite.agent.a"
LEASE: Final = Lease(holder="h", address="a", epoch=1)
LONG_MS: Final = 60_000
#: What a busy machine may add to a time limit.
SLACK_S: Final = 4.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis of the test's own, to be mistreated."""
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


@pytest.fixture(params=["tcp", "unix"])
def url(server: EmbeddedRedis, request: pytest.FixtureRequest) -> str:
    address = server.url if request.param == "tcp" else server.unix_url
    assert address is not None
    return address


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(open_store(url)) as opened:
        yield opened


@pytest.fixture
def bus(url: str) -> Iterator[CommandBus]:
    with closing(open_bus(url)) as opened:
        yield opened


def kill(server: EmbeddedRedis) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: not server.running())


def seconds_until_unavailable(call: Callable[[], object]) -> float:
    began = time.monotonic()
    with pytest.raises(Unavailable):
        call()
    return time.monotonic() - began


def store_calls(store: Store) -> dict[str, Callable[[], object]]:
    """Every method of a store that asks Redis."""
    item = Append(stream="s", payload=b"x", max_length=10)
    return {
        "append": lambda: store.append("s", b"x", max_length=10),
        "append_many": lambda: store.append_many([item, item]),
        "read": lambda: store.read({"s": BEGINNING}, limit=1, wait_ms=0),
        "read, waiting": lambda: store.read({"s": BEGINNING}, limit=1, wait_ms=LONG_MS),
        "last_id": lambda: store.last_id("s"),
        "length": lambda: store.length("s"),
        "streams": lambda: store.streams(""),
        "delete_stream": lambda: store.delete_stream("s"),
        "claim_lease": lambda: store.claim_lease(holder="h", address="a", ttl_ms=1000),
        "renew_lease": lambda: store.renew_lease(LEASE, ttl_ms=1000),
        "release_lease": lambda: store.release_lease(LEASE),
        "lease": store.lease,
        "epoch": store.epoch,
        "cursor": store.cursor,
        "registry": store.registry,
        "commit": lambda: store.commit(Commit(epoch=0, cursor_from={}, cursor_to={})),
        "put": lambda: store.put("k", b"x"),
        "get": lambda: store.get("k"),
    }


def bus_calls(bus: CommandBus) -> dict[str, Callable[[], object]]:
    """Every method of a bus that asks Redis."""
    return {
        "send": lambda: bus.send(QUEUE, b"x"),
        "send_many": lambda: bus.send_many([(QUEUE, b"x"), (QUEUE, b"y")]),
        "receive": lambda: bus.receive(QUEUE, limit=1, wait_ms=0),
        "receive, waiting": lambda: bus.receive(QUEUE, limit=1, wait_ms=LONG_MS),
        "delete": lambda: bus.delete(QUEUE),
    }


def test_a_dead_redis_is_unavailable_at_once_to_every_call(
    server: EmbeddedRedis, store: Store, bus: CommandBus
) -> None:
    store.put("k", b"x")
    bus.send(QUEUE, b"x")
    assert bus.receive(QUEUE, limit=1, wait_ms=1_000) == [b"x"]
    kill(server)

    for name, call in {**store_calls(store), **bus_calls(bus)}.items():
        assert seconds_until_unavailable(call) < SLACK_S, name


def test_the_error_names_the_address_and_not_the_password(server: EmbeddedRedis) -> None:
    with ExitStack() as opened:
        store = opened.enter_context(closing(open_store(server.url)))
        bus = opened.enter_context(closing(open_bus(server.url)))
        kill(server)
        for call in (store.epoch, lambda: bus.send(QUEUE, b"x")):
            with pytest.raises(Unavailable, match=rf"redis://127\.0\.0\.1:{server.port}/0") as unavailable:
                call()
            password = server.url.partition("@")[0].rpartition(":")[2]
            assert password not in str(unavailable.value)


def test_a_redis_that_comes_back_is_used_again_without_a_new_handle(
    server: EmbeddedRedis, store: Store, bus: CommandBus
) -> None:
    """Everything that a master and an agent do, before, during and after."""
    epoch = take_epoch(store)
    store.append("calls:default", b"1", max_length=10)
    assert bus.receive(QUEUE, limit=1, wait_ms=5) == []
    with closing(connect(server.url)) as client:
        client.config_set("appendfsync", "always")
    store.append("calls:default", b"2", max_length=10)

    kill(server)
    seconds_until_unavailable(lambda: store.append("calls:default", b"lost", max_length=10))
    seconds_until_unavailable(lambda: bus.send(QUEUE, b"lost"))
    seconds_until_unavailable(lambda: bus.receive(QUEUE, limit=1, wait_ms=LONG_MS))
    server.start()

    assert [e.payload for e in store.read({"calls:default": BEGINNING}, limit=10, wait_ms=0)] == [b"1", b"2"]
    store.commit(Commit(epoch=epoch, cursor_from={}, cursor_to={"calls:default": store.last_id("calls:default")}))
    bus.send(QUEUE, b"found")
    assert bus.receive(QUEUE, limit=10, wait_ms=LONG_MS) == [b"found"]


def test_a_restart_between_two_calls_costs_at_most_one_failure(server: EmbeddedRedis, url: str) -> None:
    """The old connection is found dead by the first call or before it; the second is made on a new one."""
    with ExitStack() as opened:
        store = opened.enter_context(closing(open_store(url)))
        bus = opened.enter_context(closing(open_bus(url)))
        store.epoch()
        bus.send(QUEUE, b"x")
        bus.receive(QUEUE, limit=1, wait_ms=5)
        kill(server)
        server.start()
        calls: tuple[Callable[[], object], ...] = (
            store.epoch,
            lambda: bus.send(QUEUE, b"x"),
            lambda: bus.receive(QUEUE, limit=1, wait_ms=5),
        )
        for call in calls:
            try:
                call()
            except Unavailable:
                call()


def test_a_waiting_read_hears_of_the_death(server: EmbeddedRedis, store: Store, bus: CommandBus) -> None:
    with ThreadPoolExecutor(2) as pool, closing(connect(server.url)) as client:
        reading = pool.submit(seconds_until_unavailable, store_calls(store)["read, waiting"])
        receiving = pool.submit(seconds_until_unavailable, bus_calls(bus)["receive, waiting"])
        eventually(lambda: client.info("clients")["blocked_clients"] == 2)
        kill(server)
        assert reading.result(LONG_MS / 1000) < SLACK_S
        assert receiving.result(LONG_MS / 1000) < SLACK_S


@pytest.fixture
def hung(server: EmbeddedRedis) -> Iterator[Callable[[], None]]:
    """Makes the server hang with its sockets open: what a primary behind a cut cable looks like."""
    pid = server.pid
    assert pid is not None
    yield lambda: os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
def test_a_redis_that_hangs_is_given_up_after_the_socket_timeout(
    server: EmbeddedRedis, hung: Callable[[], None]
) -> None:
    """One handle for each call, all at once: each is to give up by itself."""
    with ExitStack() as opened, ThreadPoolExecutor(5) as pool:
        stores = [opened.enter_context(closing(open_store(server.url))) for _ in range(2)]
        buses = [opened.enter_context(closing(open_bus(server.url))) for _ in range(3)]
        for store in stores:
            store.epoch()
        for bus in buses:
            bus.send("other", b"x")
            bus.receive("other", limit=10, wait_ms=0)
            bus.receive(QUEUE, limit=1, wait_ms=5)
        hung()

        write = pool.submit(seconds_until_unavailable, lambda: stores[0].append("s", b"x", max_length=10))
        wait = pool.submit(seconds_until_unavailable, store_calls(stores[1])["read, waiting"])
        send = pool.submit(seconds_until_unavailable, lambda: buses[0].send(QUEUE, b"x"))

        def receive_in_turns() -> None:
            while True:
                buses[1].receive(QUEUE, limit=1, wait_ms=500)

        receive = pool.submit(seconds_until_unavailable, receive_in_turns)
        receive_long = pool.submit(seconds_until_unavailable, bus_calls(buses[2])["receive, waiting"])

        assert write.result() < SOCKET_TIMEOUT_S + SLACK_S
        assert wait.result() < BLOCK_TURN_MS / 1000 + SOCKET_TIMEOUT_S + SLACK_S
        assert send.result() < SOCKET_TIMEOUT_S + SLACK_S
        assert receive.result() < PROBE_EVERY_S + SOCKET_TIMEOUT_S + SLACK_S
        assert receive_long.result() < 2 * PROBE_EVERY_S + SOCKET_TIMEOUT_S + SLACK_S


def test_a_write_that_timed_out_is_not_sent_again(server: EmbeddedRedis, hung: Callable[[], None]) -> None:
    """redis-py 8 would by itself send it ten more times, and each would count."""
    with ExitStack() as opened, ThreadPoolExecutor(2) as pool:
        store = opened.enter_context(closing(open_store(server.url)))
        bus = opened.enter_context(closing(open_bus(server.url)))
        store.epoch()
        bus.send("other", b"x")
        hung()
        timed_out = [
            pool.submit(seconds_until_unavailable, lambda: store.append("s", b"x", max_length=10)),
            pool.submit(seconds_until_unavailable, lambda: bus.send(QUEUE, b"x")),
        ]
        for each in timed_out:
            each.result()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGCONT)

        assert eventually(lambda: store.length("s")) == 1, "what timed out has happened all the same"
        assert bus.receive(QUEUE, limit=10, wait_ms=1_000) == [b"x"]


def test_a_redis_that_is_full_says_so(server: EmbeddedRedis, store: Store) -> None:
    epoch = take_epoch(store)
    event = Append(stream="framework:f", payload=b"x" * 1_000, max_length=10)
    with closing(connect(server.url)) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(Unavailable, match="maxmemory"):
            store.append("calls:default", b"x", max_length=10)
        with pytest.raises(Unavailable, match="maxmemory"):
            store.commit(Commit(epoch=epoch, cursor_from={}, cursor_to={"calls:default": "1-0"}, appends=[event]))
        client.config_set("maxmemory", 0)
    assert (store.cursor(), store.streams("")) == ({}, []), "a refused commit changes nothing"


def test_a_wrong_password_is_told_as_such(server: EmbeddedRedis) -> None:
    url = f"redis://:wrong@127.0.0.1:{server.port}/0"
    with closing(open_store(url)) as store, pytest.raises(Unavailable, match=r"(?i)password"):
        store.epoch()
    with closing(open_bus(url)) as bus, pytest.raises(Unavailable, match=r"(?i)password"):
        bus.send(QUEUE, b"x")
