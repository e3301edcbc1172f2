"""The broker as Celery is told of it, and how a subscription that hears nothing any more is told from a quiet one."""

from types import SimpleNamespace
from typing import Any

import pytest
import redis
from redis.sentinel import MasterNotFoundError

from mesolite.transport import celery_broker
from mesolite.transport.address import parse_sentinel
from mesolite.transport.celery_broker import (
    HEALTH_CHECK_INTERVAL_S,
    MAX_ABSENT,
    MAX_UNANSWERED,
    PRIMARY_CHECK_S,
    SOCKET_TIMEOUT_S,
    SubscriptionCheck,
    celery_settings,
    count_alive,
)

SENTINELS = "sentinel://:secret@s1:1,s2:2/main/3?sentinel_password=other"


def test_every_wait_has_an_end() -> None:
    settings: dict[str, Any] = celery_settings("redis://host:1/2")
    options = settings["broker_transport_options"]
    assert settings["broker_url"] == "redis://host:1/2"
    assert settings["broker_transport"] is None
    assert options["socket_timeout"] == options["socket_connect_timeout"] == SOCKET_TIMEOUT_S
    assert options["health_check_interval"] == HEALTH_CHECK_INTERVAL_S
    assert options["max_retries"] == 0, "kombu would try for ever"


def test_sentinels_are_reached_through_our_transport() -> None:
    """kombu would take further hosts in the address for brokers to switch to: one stands in it, all in the options."""
    settings: dict[str, Any] = celery_settings(SENTINELS)
    assert settings["broker_url"] == "sentinel://:secret@s1:1/3"
    assert settings["broker_transport"] == "mesolite.transport.kombu_transport:PrimaryTransport"
    assert settings["broker_transport_options"]["address"] == parse_sentinel(SENTINELS)


class Pool:
    """Sentinels that name a primary, or nobody."""

    def __init__(self, primary: tuple[str, int] | None) -> None:
        self.primary = primary
        self.asked = 0

    def get_master_address(self) -> tuple[str, int]:
        """See `PrimaryPool`."""
        self.asked += 1
        if self.primary is None:
            raise MasterNotFoundError("none")
        return self.primary


class Channel:
    """kombu's: a subscription that is an attribute only once it is made."""

    subclient: Any = None

    def __init__(self, subscription: object, pool: object) -> None:
        self.subclient = subscription
        self.async_pool = pool


class World:
    """A channel with a subscription at host a, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pool: object) -> None:
        self.now_s = 0.0
        self.pings = 0
        monkeypatch.setattr(celery_broker, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        self.connection = SimpleNamespace(_sock=object(), host="a", port=1)
        self.subscription = SimpleNamespace(
            connection=self.connection, health_check_response_counter=0, check_health=self._ping
        )
        self.channel = Channel(self.subscription, pool)
        self.check = SubscriptionCheck(self.channel)

    def _ping(self) -> None:
        self.pings += 1
        self.subscription.health_check_response_counter += 1

    def looks(self, count: int, *, answered: bool = True) -> None:
        """Look once a second."""
        for _ in range(count):
            self.now_s += 1.0
            self.check.run()
            if answered:
                self.subscription.health_check_response_counter = 0


def test_a_server_that_answers_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, SimpleNamespace())
    world.looks(100)
    assert world.pings == 100


def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, SimpleNamespace())
    world.looks(MAX_UNANSWERED, answered=False)
    with pytest.raises(redis.TimeoutError, match="does not answer"):
        world.looks(1, answered=False)


def test_a_subscription_that_is_not_there_yet_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """kombu subscribes at its first wait, and closes a socket before it makes the next."""
    world = World(monkeypatch, SimpleNamespace())
    del world.channel.subclient
    world.looks(MAX_ABSENT - 1)
    world.channel.subclient = world.subscription
    world.looks(1)
    world.connection._sock = None
    world.looks(MAX_ABSENT - 1)
    assert world.pings == 1


def test_a_subscription_that_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """kombu replaces a channel where publishing on it failed, and the consumers on it are forgotten without a word."""
    world = World(monkeypatch, SimpleNamespace())
    world.looks(1)
    world.connection._sock = None
    with pytest.raises(redis.ConnectionError, match="is lost"):
        world.looks(MAX_ABSENT)


def test_in_memory_there_is_nothing_to_lose() -> None:
    check = SubscriptionCheck(SimpleNamespace())
    for _ in range(2 * MAX_ABSENT):
        check.run()
    assert count_alive(SimpleNamespace(), "key", "me", 0.0) == 1


def test_a_server_that_is_not_the_primary_any_more_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(("a", 1))
    world = World(monkeypatch, pool)
    world.looks(100)
    assert pool.asked == 100 / PRIMARY_CHECK_S
    pool.primary = ("b", 1)
    with pytest.raises(redis.ConnectionError, match="a:1 is no longer the primary"):
        world.looks(int(PRIMARY_CHECK_S))


def test_where_no_sentinel_knows_the_subscription_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(None)
    World(monkeypatch, pool).looks(10)
    assert pool.asked == 2
