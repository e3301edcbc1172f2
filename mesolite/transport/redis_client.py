"""How this project connects to Redis: the one place that knows redis-py's settings and errors.

redis-py's defaults do not suit a scheduler. Version 8 repeats a command ten times, so a write whose answer is late is
written again; and its socket timeout of five seconds ends a blocking read that waits as long. Here every command is sent
once, every wait is bounded, and every failure is one error: whoever called decides what may be repeated.
"""

import contextlib
from collections.abc import Generator
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mesolite.errors import ConfigError, RedisUnavailable

from .address import REDIS_SCHEMES, scheme_of, shown

#: How long a command waits for its answer. A healthy Redis answers within milliseconds; a rewrite of its log or a slow
#: disk may hold it for a second or two, and a primary that hangs has to be given up before leases end.
SOCKET_TIMEOUT_S: Final = 5.0
#: How long connecting waits. A packet that gets lost is sent again by TCP after one second.
CONNECT_TIMEOUT_S: Final = 3.0
#: A blocking read waits in turns of this length, well below SOCKET_TIMEOUT_S, so that a silent server is noticed by its
#: missing answer and not mistaken for a quiet stream.
BLOCK_TURN_MS: Final = 2_000


def connect(url: str) -> redis.Redis:
    """Return a client of the Redis at `url`. It connects with its first command.

    Sentinel will come in here: whatever the address means, callers get a client of the current primary.

    Args:
        url: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, `rediss://…` or `unix://[[USER]:PASSWORD@]/PATH[?db=DB]`.

    Raises:
        ConfigError: The address cannot be read.
    """
    if scheme_of(url) not in REDIS_SCHEMES:
        raise ConfigError(f"{shown(url)} is not the address of a Redis server")
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            # RESP2 in every version of redis-py, so that answers have one shape.
            protocol=2,
        )
    except ValueError as error:
        raise ConfigError(f"the address {shown(url)} cannot be read: {error}") from None


@contextlib.contextmanager
def redis_errors(address: str) -> Generator[None]:
    """Turn whatever redis-py raises into `RedisUnavailable`.

    All of it: a refused connection, a timeout, a server that is loading, full (`OOM`), a replica (`READONLY`) or unable to
    write its log (`MISCONF`), and a missing permission. Each may pass by itself or by the operator's hand, and none is
    something that the calling code could do better.

    Args:
        address: The server as shown to people, without its password.

    Raises:
        RedisUnavailable: With the address and the server's own words.
    """
    try:
        yield
    except (redis.RedisError, OSError) as error:
        reason = str(error).strip() or type(error).__name__
        raise RedisUnavailable(f"Redis at {address} does not answer: {reason}") from error
