"""Where a broker is, as far as that tells it from another: not by whom it is asked, nor whether in secret.

Servers are known by the names that the application has for them. Two names of one server look like two brokers; who compares
goes by more than this where it matters.
"""

from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, urlsplit

import msgspec

#: Transports of kombu that lead to the same brokers.
_FAMILIES: Final = {"rediss": "redis", "amqps": "amqp", "pyamqp": "amqp", "librabbitmq": "amqp", "py-amqp": "amqp"}
#: kombu's own words for it, with which it fills in what an address leaves out.
_HERE: Final = frozenset({"", "localhost", "::1"})
_LOOPBACK: Final = "127.0.0.1"
#: Redis's first database, where an address names none.
_FIRST_DATABASE: Final = "0"
_DATABASES: Final = frozenset({"redis", "sentinel"})


class BrokerAddress(msgspec.Struct, frozen=True):
    """One broker. It is kept in Redis, so there is no password in it."""

    #: "redis", "sentinel", "amqp".
    kind: str
    #: "HOST:PORT" or the path of a socket: each leads there. Of Sentinels, theirs.
    servers: tuple[str, ...]
    #: The database's number, or the virtual host.
    inside: str
    #: What Sentinels call it.
    service: str = ""
    #: What stands before all its keys.
    prefix: str = ""

    def __str__(self) -> str:
        """For people."""
        parts = [f"{self.kind}://{','.join(self.servers)}/{self.inside}"]
        parts += [f"service {self.service!r}"] if self.service else []
        parts += [f"keys {self.prefix}*"] if self.prefix else []
        return ", ".join(parts)

    def is_same(self, other: "BrokerAddress") -> bool:
        """Whether both lead to one broker. Of several servers, as of Sentinels, some may have come or gone."""
        mine, theirs = ((each.kind, each.inside, each.service, each.prefix) for each in (self, other))
        return mine == theirs and not set(self.servers).isdisjoint(other.servers)

    def encode(self) -> bytes:
        """As it is kept."""
        return msgspec.json.encode(self)


def decode_address(kept: bytes | None) -> BrokerAddress | None:
    """Read what was kept; None where that is nothing, or cannot be read."""
    try:
        return None if kept is None else msgspec.json.decode(kept, type=BrokerAddress)
    except msgspec.MsgspecError:
        return None


def address_of(connection: Any) -> BrokerAddress:
    """Return where a connection of kombu leads; it need not be open."""
    transport = str(connection.transport_cls)
    kind = _FAMILIES.get(transport, transport)
    options: dict[str, Any] = connection.transport_options or {}
    hostname, inside = connection.hostname or "", connection.virtual_host or "/"
    if "://" in hostname:
        socket = urlsplit(hostname)
        servers = [socket.path]
        inside = parse_qs(socket.query).get("virtual_host", [inside])[0]
    else:
        port = connection.get_transport_cls().default_port
        others = [server for url in connection.alt or () if (server := _server_of(urlsplit(url), port))]
        servers = others or [_server(hostname, connection.port or port)]
    if kind in _DATABASES:
        inside = str(inside).strip("/") or _FIRST_DATABASE
    service = str(options.get("master_name", "")) if kind == "sentinel" else ""
    prefix = str(options.get("global_keyprefix", "")) if kind in _DATABASES else ""
    return BrokerAddress(kind, tuple(servers), str(inside), service, prefix)


def _server_of(url: SplitResult, default_port: object) -> str | None:
    try:
        return _server(url.hostname or "", url.port or default_port) if url.scheme else None
    except ValueError:
        # Its port is none: kombu says so, where it gets there.
        return None


def _server(hostname: str, port: object) -> str:
    name = hostname.lower()
    return f"{_LOOPBACK if name in _HERE else name}:{port}"
