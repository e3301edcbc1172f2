"""The broker as Celery's side uses it: events and remote control, for agents that appear in Flower and for Flower itself.

kombu's own defaults wait for ever, for a connection, for an answer, and above all on a subscription: a server that hangs, or
is cut off without a word, looks to a subscriber like one where nothing happens. Here every wait is bounded, kombu never
tries again by itself, and whoever listens can ask whether the other side still lives.

kombu and redis-py are imported where they are needed: most of an agent's memory is its imports.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from .address import MEMORY_SCHEME, SENTINEL_SCHEME, parse_sentinel, scheme_of

#: A broker that does not answer for so long counts as gone. Shorter than for what matters more: Flower is a view, and all
#: that got lost is said again.
SOCKET_TIMEOUT_S: Final = 2.0

#: How often a subscription is looked at.
CHECK_EVERY_S: Final = 1.0
#: One that was silent for so long is asked for a sign of life, once at each look.
HEALTH_CHECK_INTERVAL_S: Final = 2.0
#: Unanswered questions after which it is given up. An answer takes a millisecond, and looks are a second apart.
MAX_UNANSWERED: Final = 3
#: Looks after which a subscription that is not there is given up: kombu makes one within one turn of its wait, and again
#: where its socket was lost, unless it forgot it together with a channel that it replaced.
MAX_ABSENT: Final = 3
#: How often the Sentinels are asked whether the server of the subscription is still the primary.
PRIMARY_CHECK_S: Final = 5.0

#: Who has not said for so long that it lives is not counted any more (`count_alive`): a few of whatever is its interval.
ALIVE_S: Final = 60.0

#: As Celery's settings name it.
_PRIMARY_TRANSPORT: Final = "mesolite.transport.kombu_transport:PrimaryTransport"


class CeleryBroker(NamedTuple):
    """A broker as Celery is told of it."""

    url: str
    #: Of kombu; None where the URL says it.
    transport: str | None
    options: dict[str, object]


def celery_broker(url: str) -> CeleryBroker:
    """Return the address of a Redis as Celery takes it.

    Under Sentinels it is reached through our own transport: kombu's takes a demoted primary for the primary as long as it
    answers, and what is published to a replica reaches nobody (Redis: PUBLISH travels from primary to replica only).

    Raises:
        ConfigError: The address cannot be read.
    """
    # Once, and then whoever asked decides: kombu would sleep for up to 30 s between its attempts, and never give up.
    options: dict[str, object] = {"max_retries": 0}
    scheme = scheme_of(url)
    if scheme == MEMORY_SCHEME:
        return CeleryBroker(url, None, options)
    from .kombu_address import kombu_url

    options |= {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_INTERVAL_S,
    }
    if scheme != SENTINEL_SCHEME:
        return CeleryBroker(kombu_url(url), None, options)
    # One is enough for kombu, which would take the others for brokers to switch to; the transport knows them all.
    first = kombu_url(url).partition(";")[0]
    return CeleryBroker(first, _PRIMARY_TRANSPORT, {**options, "address": parse_sentinel(url)})


def open_broker(url: str, more_options: Mapping[str, object] | None = None) -> Any:
    """Make a kombu connection, which connects at its first use. One for each thread: kombu's are not shared.

    Raises:
        ConfigError: The address cannot be read.
    """
    from kombu.connection import Connection

    connect: Callable[..., Any] = Connection
    broker = celery_broker(url)
    return connect(broker.url, transport=broker.transport, transport_options={**broker.options, **(more_options or {})})


def celery_settings(url: str) -> dict[str, object]:
    """Return the settings of a Celery application with this broker.

    Raises:
        ConfigError: The address cannot be read.
    """
    broker = celery_broker(url)
    return {
        "broker_url": broker.url,
        "broker_transport": broker.transport,
        "broker_transport_options": broker.options,
        "broker_connection_timeout": SOCKET_TIMEOUT_S,
    }


def broker_errors() -> tuple[type[BaseException], ...]:
    """Return what comes out of kombu when its broker is away, while it is used or closed.

    The transports share no root, and kombu's own bookkeeping breaks in many ways when connections go away under it: it looks
    up file descriptors that are gone (LookupError, ValueError), closes what it had not opened yet (AttributeError, TypeError),
    and redis-py asks whether one forgot to subscribe (RuntimeError).
    """
    import redis
    from kombu.exceptions import KombuError

    return (
        *(KombuError, redis.RedisError, OSError),
        *(LookupError, ValueError, AttributeError, TypeError, RuntimeError),
    )


def count_alive(channel: Any, key: str, name: str, now_s: float) -> int:
    """Note in a sorted set that somebody lives, and count those who did so lately. At least 1.

    kombu's own sets of bindings do not tell: who was killed stays in them.

    Args:
        channel: Whose Redis; in memory everybody is alone.
        key: Of the set; it goes with the last who lives.
        name: Who lives.
        now_s: Wall clock, seconds.
    """
    if not hasattr(channel, "conn_or_acquire"):
        return 1
    from redis.exceptions import ResponseError

    with channel.conn_or_acquire() as client:
        pipeline = client.pipeline(transaction=False)
        pipeline.zadd(key, {name: now_s})
        pipeline.zremrangebyscore(key, "-inf", now_s - ALIVE_S)
        pipeline.expire(key, int(ALIVE_S))
        pipeline.zcard(key)
        try:
            return max(1, int(pipeline.execute()[-1]))
        except ResponseError:
            # Not permitted, or no room: a matter of pace only.
            return 1


class SubscriptionCheck:
    """Looks whether a channel's subscription can still hear: its server answers, and is the primary.

    kombu asks for answers only where an event loop drives its consumers (`MultiChannelPoller.maybe_check_subclient_health`).
    A subscription in use needs no questions: everything that arrives counts as an answer.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        #: Looks that found no subscription, in a row.
        self._absent = 0
        self._primary_checked_s = time.monotonic()

    def run(self) -> None:
        """Look. Call it every CHECK_EVERY_S.

        Raises:
            redis.exceptions.TimeoutError: It has not answered for HEALTH_CHECK_INTERVAL_S and MAX_UNANSWERED looks.
            redis.exceptions.ConnectionError: It is lost, or its server is not the primary any more.
        """
        if not hasattr(type(self._channel), "subclient"):
            # In memory.
            return
        from redis.exceptions import ConnectionError as RedisConnectionError
        from redis.exceptions import TimeoutError as RedisTimeoutError

        # Reading the attribute would make one.
        subscription: Any = vars(self._channel).get("subclient")
        if subscription is None or subscription.connection is None or subscription.connection._sock is None:
            self._absent += 1
            if self._absent >= MAX_ABSENT:
                raise RedisConnectionError("the broker's subscription is lost")
            return
        self._absent = 0
        if subscription.health_check_response_counter >= MAX_UNANSWERED:
            raise RedisTimeoutError("the broker's subscription does not answer")
        subscription.check_health()
        now_s = time.monotonic()
        if now_s - self._primary_checked_s >= PRIMARY_CHECK_S:
            self._primary_checked_s = now_s
            self._check_primary(subscription.connection)

    def _check_primary(self, connection: Any) -> None:
        # Only the pool of Sentinels knows a primary.
        ask: Any = getattr(self._channel.async_pool, "get_master_address", None)
        if ask is None:
            return
        from redis.exceptions import ConnectionError as RedisConnectionError
        from redis.sentinel import MasterNotFoundError

        try:
            primary: tuple[str, int] = ask()
        except MasterNotFoundError:
            # Nobody knows, or another is being elected: what is heard goes on being heard until then.
            return
        if (connection.host, connection.port) != primary:
            raise RedisConnectionError(f"{connection.host}:{connection.port} is no longer the primary")
