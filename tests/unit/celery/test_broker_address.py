"""Which addresses lead to one broker, and which to two."""

from typing import Any

import pytest
from celery import Celery

from mesolite.frameworks.celery.broker_address import BrokerAddress, address_of, decode_address

SENTINELS = "sentinel://a:26379;sentinel://b:26379;sentinel://c:26379"


def address(url: str | list[str], **options: str) -> BrokerAddress:
    """As an application has it."""
    app: Any = Celery(broker=url, broker_transport_options=options, set_as_current=False)
    connection: Any = app.connection_for_read()
    return address_of(connection)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://", "redis://localhost:6379/0"),
        ("redis://:secret@redis/1", "redis://someone:other@REDIS:6379/1"),
        ("redis://redis/1", "rediss://redis/1?ssl_cert_reqs=none"),
        ("redis+socket:///run/redis.sock", "redis+socket://:secret@/run/redis.sock?virtual_host=0"),
        ("redis+socket:///run/redis.sock?virtual_host=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("amqp://", "pyamqp://guest:guest@127.0.0.1:5672//"),
        ("amqp://rabbit/shop", "amqps://user:secret@rabbit:5672/shop"),
        ("amqp://one//;amqp://two//", "amqp://two//"),
    ],
)
def test_one_broker_has_many_addresses(one: str, other: str) -> None:
    assert address(one).is_same(address(other))
    assert address(other).is_same(address(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://redis/0", "redis://redis/1"),
        ("redis://redis/0", "redis://other/0"),
        ("redis://redis/0", "redis://redis:6380/0"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=1"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/other.sock"),
        ("amqp://rabbit/shop", "amqp://rabbit/bank"),
        ("amqp://rabbit//", "redis://rabbit/0"),
    ],
)
def test_servers_databases_and_virtual_hosts_are_different_brokers(one: str, other: str) -> None:
    assert not address(one).is_same(address(other))


def test_sentinels_may_come_and_go_as_long_as_one_of_them_stays() -> None:
    before = address(SENTINELS, master_name="shop")
    assert before.is_same(address("sentinel://d:26379;sentinel://c:26379", master_name="shop"))
    assert not before.is_same(address("sentinel://d:26379;sentinel://e:26379", master_name="shop"))


def test_what_sentinels_call_the_primary_and_what_stands_before_its_keys_tell_brokers_apart() -> None:
    assert not address(SENTINELS, master_name="shop").is_same(address(SENTINELS, master_name="bank"))
    assert not address("redis://redis/0", global_keyprefix="shop:").is_same(address("redis://redis/0"))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@redis/1",
        "redis+socket://:secret@/run/redis.sock",
        "sentinel://:secret@a:26379;sentinel://:secret@b:26379",
        "amqp://user:secret@one//;amqp://user:secret@two//",
    ],
)
def test_what_is_kept_and_shown_has_no_password_and_reads_back_as_it_was(url: str) -> None:
    made = address(url)
    assert "secret" not in f"{made.encode()!r} {made}"
    assert decode_address(made.encode()) == made


@pytest.mark.parametrize("kept", [None, b"", b"redis://redis/0", b'{"kind": 1}'])
def test_what_cannot_be_read_is_no_address(kept: bytes | None) -> None:
    assert decode_address(kept) is None


def test_an_address_whose_port_is_none_is_left_to_kombu() -> None:
    assert address("amqp://one//;amqp://two:door//").servers == ("one:5672",)
