"""A dispatcher that loses the primary waits for the next as long as an election takes, and not where there never was one."""

from typing import Any

import pytest
import redis
from kombu.connection import Connection
from kombu.transport import redis as kombu_redis

from mesolite.frameworks.celery.broker import transport as transport_module
from mesolite.frameworks.celery.broker.transport import OwningSentinelTransport


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each try to connect leads to, the next one first; it is used up."""
    planned: list[bool] = []

    def connect(_: object) -> str:
        if planned.pop(0):
            return "connected"
        raise redis.ConnectionError("no primary")

    monkeypatch.setattr(kombu_redis.SentinelTransport, "establish_connection", connect)
    monkeypatch.setattr(OwningSentinelTransport, "_has_connected", False)
    monkeypatch.setattr(transport_module, "_ELECTION_POLL_S", 0.0)
    return planned


def transport() -> OwningSentinelTransport:
    # kombu has no types.
    make: Any = Connection
    return OwningSentinelTransport(make("sentinel://127.0.0.1:1", transport_options={"master_name": "m"}))


def test_the_first_connection_is_not_waited_for(tries: list[bool]) -> None:
    tries += [False, True]
    with pytest.raises(redis.ConnectionError):
        transport().establish_connection()
    assert tries == [True]


def test_behind_a_failover_it_is_tried_until_there_is_a_primary(tries: list[bool]) -> None:
    tries += [True, False, False, False, True]
    assert transport().establish_connection() == "connected"
    assert transport().establish_connection() == "connected", "by any transport of the process"
    assert tries == []


def test_an_election_that_does_not_end_is_celerys_to_wait_for(
    tries: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "_ELECTION_S", 0.05)
    tries += [True, *[False] * 1_000_000]
    transport().establish_connection()
    with pytest.raises(redis.ConnectionError):
        transport().establish_connection()
