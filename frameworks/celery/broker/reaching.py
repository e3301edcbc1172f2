"""The broker of an application, for operators: reached as Celery reaches it, without consuming anything."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis
from celery.app.utils import find_app
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from mesolite.errors import ConfigError, RedisUnavailable

from .decoding import Layout

#: How long a broker may take to answer.
_TIMEOUT_S: Final = 10.0


class Broker(NamedTuple):
    """A Redis that is a broker."""

    client: redis.Redis
    layout: Layout


@contextmanager
def reached(app: str | None, url: str | None) -> Generator[Broker]:
    """Connect.

    Args:
        app: As `celery -A` takes it; None where there is an address.
        url: The broker's address, where it is not the application's.

    Raises:
        ConfigError: There is no such application, or its broker is no Redis.
        RedisUnavailable: It does not answer.
    """
    with _connection(app, url) as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=_TIMEOUT_S)
            channel: Any = connection.default_channel
        except (OperationalError, redis.RedisError) as error:
            raise RedisUnavailable(f"the broker {connection.as_uri()} does not answer: {error}") from error
        if not isinstance(getattr(channel, "client", None), redis.Redis):
            raise ConfigError(f"messages are owned in Redis brokers only; {connection.as_uri()} is none")
        yield Broker(channel.client, Layout(channel.global_keyprefix, channel.sep))


def _connection(app: str | None, url: str | None) -> Any:
    connection: Any = Connection
    if app is None:
        if not url:
            raise ConfigError("say which broker: -A APP, or --broker URL")
        return connection(url)
    # As `celery` does it: the application lies where the command is given.
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = find_app(app)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"there is no application {app!r}: {error}") from error
    return (
        connection(url, transport_options=found.conf.broker_transport_options) if url else found.connection_for_write()
    )
