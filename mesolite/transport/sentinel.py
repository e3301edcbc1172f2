"""Connections to whichever server the Sentinels name as primary, on redis-py's own Sentinel classes.

redis-py asks the Sentinels when it makes a connection, and asks no more while that works. Three things are added here, each
against a way to sit on a server that is no longer the primary:

- a fresh connection asks the server what it is (ROLE), as Redis's guidelines for Sentinel clients demand: the Sentinel asked
  may be behind;
- an answer that only a server gives which cannot take writes (READONLY, NOREPLICAS, UNBLOCKED, MASTERDOWN) closes the connection
  like a broken one, so that the next command asks the Sentinels again;
- every few seconds the Sentinels are asked again anyway: an old primary that was cut off from them, but not from us, goes on
  answering reads, and for a while takes writes that will be forgotten.

Nothing is repeated: a command that failed has failed.
"""

# redis-py's connections and pools have hardly any types.
# mypy: disallow-untyped-calls=False

import contextlib
import time
from collections.abc import Mapping
from typing import Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool, SentinelManagedConnection

from .address import SentinelAddress

#: How long one Sentinel may take to connect, and to answer. They do nothing else; one that is silent for so long is skipped,
#: and comes behind the one that answered from then on.
_SENTINEL_TIMEOUT_S: Final = 0.5
#: How often the Sentinels are asked whether the primary is still the same, while it answers. They take a second or two to
#: replace a primary, so that asking more often finds little more; a question costs them some 50 µs.
PRIMARY_CHECK_S: Final = 2.0
#: Where Sentinels are slow to answer, asking takes at most this share of the time.
_CHECK_SHARE: Final = 0.1
#: What a server says that takes no writes: a replica, a primary without replicas, one that was just demoted, and a replica
#: that lost its primary. A script of Redis 6 has the word in the middle of its error.
_NOT_PRIMARY: Final = ("READONLY", "NOREPLICAS", "UNBLOCKED", "MASTERDOWN")


class Sentinels(Sentinel):
    """The Sentinels of an address. One instance belongs to one pool.

    Args:
        address: Where they are.
        options: What redis-py's connections to them take beyond what the address says.
    """

    def __init__(self, address: SentinelAddress, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(address.sentinels, sentinel_kwargs={**sentinel_options(address), **(options or {})})
        #: The newest configuration that any Sentinel told: each failover has a higher number (Sentinel's `config-epoch`).
        self._newest_epoch = 0

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the primary: of the first Sentinel that knows no older configuration than was seen before.

        Where all are behind, the newest answer counts: Sentinels that were set up anew begin to count again.

        Raises:
            MasterNotFoundError: Says why: nobody answers, nobody knows the name, or a failover is under way.
        """
        reasons: list[str] = []
        best: tuple[int, redis.Redis, tuple[str, int]] | None = None
        for sentinel in list(self.sentinels):
            try:
                known = cast("dict[str, dict[str, Any]]", sentinel.sentinel_masters())
            except (redis.ConnectionError, redis.TimeoutError) as error:
                reasons.append(f"{_where(sentinel)}: {error}")
                continue
            state = known.get(service_name)
            if state is None or not self.check_master_state(state, service_name):
                reasons.append(f"{_where(sentinel)}: {_why_not(service_name, state, known)}")
                continue
            epoch = int(state["config-epoch"])
            if best is None or epoch > best[0]:
                best = (epoch, sentinel, (state["ip"], state["port"]))
            if epoch >= self._newest_epoch:
                break
        if best is None:
            raise MasterNotFoundError(f"no Sentinel names a primary ({'; '.join(reasons)})")
        self._newest_epoch, answered, primary = best
        # A new list: another thread may be walking through this one.
        self.sentinels = [answered, *(sentinel for sentinel in self.sentinels if sentinel is not answered)]
        return primary


class PrimaryConnection(SentinelManagedConnection):
    """A connection that knows when it is not the primary's."""

    def connect_to(self, address: tuple[str, int]) -> None:
        """Connect, and make sure that it is a primary."""
        super().connect_to(address)
        try:
            self.send_command("ROLE", check_health=False)
            role: list[bytes] = self.read_response()
        except redis.RedisError:
            self.disconnect()
            raise
        if role[0] != b"master":
            self.disconnect()
            raise redis.ConnectionError(f"{self.host}:{self.port} is not the primary, though a Sentinel says so")

    def send_packed_command(self, command: object, check_health: bool = True) -> None:
        """Send a command; where the connection was lost meanwhile, find the primary first.

        redis-py would connect to the former address again (redis-py issue 3874).
        """
        if not self._sock:
            self.connect()
        super().send_packed_command(command, check_health=check_health)

    def read_response(
        self,
        disable_decoding: bool = False,
        *,
        disconnect_on_error: bool | None = True,
        **options: Any,
    ) -> Any:
        """Read an answer.

        An interrupted read closes the connection, which redis-py's Sentinel connection, unlike its others, does not do by
        default: the next command would take the answer to this one for its own.
        """
        try:
            return super().read_response(disable_decoding, disconnect_on_error=disconnect_on_error, **options)
        except ResponseError as error:
            if not any(word in str(error) for word in _NOT_PRIMARY):
                raise
            self.disconnect()
            raise redis.ConnectionError(str(error)) from None


class PrimaryPool(SentinelConnectionPool):
    """Connections to the current primary, which asks from time to time whether it still is.

    Args:
        address: Whose primary.
        to_sentinels: What redis-py's connections to the Sentinels take beyond what the address says.
        options: What redis-py's connections take.
    """

    def __init__(self, address: SentinelAddress, to_sentinels: Mapping[str, Any] | None = None, **options: Any) -> None:
        options.setdefault("connection_class", PrimaryConnection)
        super().__init__(address.master_name, Sentinels(address, to_sentinels), **options)
        self._check_at = time.monotonic() + PRIMARY_CHECK_S

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        """Return a connection to the primary."""
        began = time.monotonic()
        if began >= self._check_at:
            # Where it changed, this closes the idle connections. Where no Sentinel says anything, what works goes on.
            with contextlib.suppress(redis.RedisError):
                self.get_master_address()
            now = time.monotonic()
            self._check_at = now + max(PRIMARY_CHECK_S, (now - began) / _CHECK_SHARE)
        return super().get_connection(*arguments, **options)

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, those to Sentinels too where all are closed."""
        super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                sentinel.connection_pool.disconnect()


def sentinel_options(address: SentinelAddress) -> dict[str, Any]:
    """Return the options of redis-py for connections to the Sentinels themselves."""
    return {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "socket_timeout": _SENTINEL_TIMEOUT_S,
        "socket_connect_timeout": _SENTINEL_TIMEOUT_S,
        # redis-py's default would ask a dead Sentinel ten times, with pauses.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def _why_not(name: str, state: dict[str, Any] | None, known: dict[str, dict[str, Any]]) -> str:
    if state is None:
        return f"knows no primary named {name!r}, but {', '.join(sorted(known)) or 'none at all'}"
    return f"the primary {name!r} is down, and no other was elected yet"


def _where(sentinel: redis.Redis) -> str:
    at: dict[str, Any] = sentinel.connection_pool.connection_kwargs
    return f"Sentinel {at['host']}:{at['port']}"
