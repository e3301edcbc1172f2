"""Makes the Redis brokers of this process owning ones."""

from collections.abc import Callable
from typing import Any, Final, cast

import kombu.transport

from . import installed
from .redis_ownership import RedisOwnership

_TRANSPORTS: Final = "mesolite.frameworks.celery.broker.transport"
#: By the scheme of an address: `redis+socket://` has kombu take what is before the plus.
_OURS: Final = {
    "redis": f"{_TRANSPORTS}:OwningTransport",
    "rediss": f"{_TRANSPORTS}:OwningTransport",
    "sentinel": f"{_TRANSPORTS}:OwningSentinelTransport",
}
#: How addresses of brokers begin whose messages can be owned; up to a plus.
SCHEMES: Final = frozenset(_OURS)


def install(
    owner: str,
    *,
    ahead: bool = True,
    while_waiting: Callable[[], None] = lambda: None,
    still_held: Callable[[str], bool] = lambda _: False,
    superseded: Callable[[], None] = lambda: None,
) -> RedisOwnership:
    """Have `redis://`, `rediss://`, `redis+socket://` and `sentinel://` of this process lead to our transports.

    Call it before the application connects. What it returns is used once a consumer of the application has started.

    Args:
        owner: The dispatcher's name. Two of one name: the second waits until the first ends. What a dispatcher leaves is had by
            the next of its name, or given back by `standing.release`.
        ahead: Whether more is taken than Celery's prefetch count while tasks are short: not where the user set one.
        while_waiting: Called twice a second while another dispatcher has the name; what it raises ends the wait.
        still_held: Whether the pool still has a message that was not given: it is not delivered again after a lost connection.
        superseded: Called when another dispatcher has taken the name; what it raises ends the consumer, in place of `Superseded`.
    """
    made = RedisOwnership(owner, ahead=ahead, while_waiting=while_waiting, still_held=still_held, superseded=superseded)
    installed.set_ownership(made)
    _lead(_OURS)
    return made


def claim(ownership: RedisOwnership, connection: Any) -> None:
    """Have the name before anything else is done: wait where another dispatcher has it.

    Without this it is claimed by the first consumer, in Celery's event loop, which then waits with it.

    Args:
        ownership: As installed.
        connection: Of kombu, to the application's broker; it may be closed afterwards.

    Raises:
        ConfigError: The broker is too old, or its options make no sense.
        redis.RedisError: It does not answer.
    """
    ownership.connect(connection.default_channel.owner_way().place)


def uninstall() -> None:
    """Undo it: for tests."""
    installed.set_ownership(None)
    stock = "kombu.transport.redis"
    _lead(dict.fromkeys(("redis", "rediss"), f"{stock}:Transport") | {"sentinel": f"{stock}:SentinelTransport"})


def _lead(transports: dict[str, str]) -> None:
    module = cast("Any", kombu.transport)
    module.TRANSPORT_ALIASES.update(transports)
    for scheme in transports:
        module._transport_cache.pop(scheme, None)
