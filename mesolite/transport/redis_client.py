"""How this project connects to Redis: the one place that knows redis-py's settings and errors.

redis-py's defaults do not suit a scheduler. Version 8 repeats a command ten times, so a write whose answer is late is
written again; and its socket timeout of five seconds ends a blocking read that waits as long. Here every command is sent
once, every wait is bounded, and every failure is one error: whoever called decides what may be repeated.
"""

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mesolite.errors import ConfigError, RedisUnavailable

from .address import MEMORY_SCHEME, SENTINEL_SCHEME, parse_sentinel, scheme_of, shown
from .sentinel import PrimaryPool

#: How long a command waits for its answer. A healthy Redis answers within milliseconds; a rewrite of its log or a slow
#: disk may hold it for a second or two, and a primary that hangs has to be given up before leases end.
SOCKET_TIMEOUT_S: Final = 5.0
#: How long connecting waits. A packet that gets lost is sent again by TCP after one second.
CONNECT_TIMEOUT_S: Final = 3.0
#: A blocking read waits in turns of this length, well below SOCKET_TIMEOUT_S, so that a silent server is noticed by its
#: missing answer and not mistaken for a quiet stream.
BLOCK_TURN_MS: Final = 2_000
#: While nothing arrives in a command queue, its server is asked for a sign of life this often.
PROBE_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited for a Redis at an address."""

    #: For the answer to a command.
    socket_timeout_s: float
    #: For a connection.
    connect_timeout_s: float
    #: The length of a blocking read's turns.
    block_turn_ms: int
    #: Between two questions for a sign of life, while nothing arrives.
    probe_every_s: float
    #: For the answer to such a question.
    probe_timeout_s: float


#: One Redis: nobody stands in for it, so that giving it up early wins nothing.
_DIRECT: Final = Patience(
    socket_timeout_s=SOCKET_TIMEOUT_S,
    connect_timeout_s=CONNECT_TIMEOUT_S,
    block_turn_ms=BLOCK_TURN_MS,
    probe_every_s=PROBE_EVERY_S,
    probe_timeout_s=SOCKET_TIMEOUT_S,
)
#: Under Sentinels another primary takes over some two seconds after one died or hangs (`down-after-milliseconds` 1000 and the
#: election). Whoever waits longer for the old one loses that time; whoever waits less asks Sentinels that do not know yet.
_UNDER_SENTINELS: Final = Patience(
    socket_timeout_s=2.0, connect_timeout_s=1.0, block_turn_ms=1_000, probe_every_s=1.0, probe_timeout_s=1.0
)


def patience(url: str) -> Patience:
    """Return how long is waited for what is at an address.

    Raises:
        ConfigError: It is not an address.
    """
    return _UNDER_SENTINELS if scheme_of(url) == SENTINEL_SCHEME else _DIRECT


def connect(url: str) -> redis.Redis:
    """Return a client of the Redis at `url`. It connects with its first command.

    Under Sentinels it is a client of the primary, whichever that is at each moment: see `sentinel`. While another is elected,
    commands fail; each asks anew.

    Args:
        url: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, `rediss://…`, `unix://[[USER]:PASSWORD@]/PATH[?db=DB]` or
            `sentinel://…` (see `address.parse_sentinel`).

    Raises:
        ConfigError: The address cannot be read.
    """
    scheme = scheme_of(url)
    if scheme == MEMORY_SCHEME:
        raise ConfigError(f"{shown(url)} is not the address of a Redis server")
    waits = patience(url)
    if scheme == SENTINEL_SCHEME:
        return _connect_to_primary(url, waits)
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=waits.socket_timeout_s,
            socket_connect_timeout=waits.connect_timeout_s,
            retry=Retry(NoBackoff(), 0),
            # RESP2 in every version of redis-py, so that answers have one shape.
            protocol=2,
        )
    except ValueError as error:
        raise ConfigError(f"the address {shown(url)} cannot be read: {error}") from None


def _connect_to_primary(url: str, waits: Patience) -> redis.Redis:
    address = parse_sentinel(url)
    pool = PrimaryPool(
        address,
        db=address.db,
        username=address.username,
        password=address.password,
        socket_timeout=waits.socket_timeout_s,
        socket_connect_timeout=waits.connect_timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return redis.Redis.from_pool(pool)


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
