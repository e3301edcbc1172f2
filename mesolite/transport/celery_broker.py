"""The broker as Celery's side uses it: events and remote control, for agents that appear in Flower and for Flower itself.

kombu and redis-py are imported when they are needed: most of an agent's memory is its imports. kombu's own defaults wait for ever, for a connection, for an answer, and above all on a subscription: a server that hangs, or
is cut off without a word, looks to a subscriber like one where nothing happens. Here every wait is bounded, kombu never
tries again by itself, and whoever listens can ask whether the other side still lives.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from .address import MEMORY_SCHEME, scheme_of

#: A broker that does not answer for so long counts as gone. Shorter than for what matters more: Flower is a view, and all
#: that got lost is said again.
SOCKET_TIMEOUT_S: Final = 3.0

#: A subscription that was silent for so long is asked for a sign of life, once at each look.
HEALTH_CHECK_INTERVAL_S: Final = 2.0
#: Unanswered questions after which it is given up. An answer takes a millisecond, looks are a second apart.
MAX_UNANSWERED: Final = 3


def celery_broker(url: str) -> tuple[str, dict[str, object]]:
    """Return the address of a Redis as Celery writes it, and the options of its transport.

    Raises:
        ConfigError: The address cannot be read.
    """
    # Once, and then whoever asked decides: kombu would sleep for up to 30 s between its attempts, and never give up.
    options: dict[str, object] = {"max_retries": 0}
    if scheme_of(url) == MEMORY_SCHEME:
        return url, options
    from .kombu_bus import kombu_url

    options |= {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        "health_check_interval": HEALTH_CHECK_INTERVAL_S,
    }
    return kombu_url(url), options


def open_broker(url: str, more_options: Mapping[str, object] | None = None) -> Any:
    """Make a kombu connection, which connects at its first use. One for each thread: kombu's are not shared.

    Raises:
        ConfigError: The address cannot be read.
    """
    from kombu.connection import Connection

    connect: Callable[..., Any] = Connection
    address, options = celery_broker(url)
    return connect(address, transport_options={**options, **(more_options or {})})


def broker_errors() -> tuple[type[BaseException], ...]:
    """Return what comes out of kombu when its broker is away, while it is used or closed.

    The transports share no root. KeyError and ValueError: kombu looks up file descriptors that a reconnection took away.
    AttributeError: it closes what it had not opened yet.
    """
    import redis
    from kombu.exceptions import KombuError

    return (KombuError, redis.RedisError, OSError, KeyError, ValueError, AttributeError)


def check_subscription(channel: Any) -> None:
    """Look whether the server behind a channel's subscription still answers. Call it about once a second.

    kombu does this for consumers that run in an event loop only (`MultiChannelPoller.maybe_check_subclient_health`). A
    subscription in use needs no questions: everything that arrives counts as an answer.

    Raises:
        redis.exceptions.TimeoutError: It has not answered for HEALTH_CHECK_INTERVAL_S and MAX_UNANSWERED looks.
    """
    # Absent in memory, and until the first subscription; reading the attribute would make one.
    subscription: Any = vars(channel).get("subclient")
    if subscription is None or subscription.connection is None or subscription.connection._sock is None:
        return
    if subscription.health_check_response_counter >= MAX_UNANSWERED:
        from redis.exceptions import TimeoutError as RedisTimeoutError

        raise RedisTimeoutError("the broker's subscription does not answer")
    subscription.check_health()
