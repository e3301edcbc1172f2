"""The connection to the broker that Flower shares with the agents: kombu, with every wait bounded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mesolite.transport.address import MEMORY_SCHEME, scheme_of

#: A broker that does not answer for so long counts as gone. Also bounds a publish to a primary that hangs.
SOCKET_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is."""

    #: As settings write it: "redis://host:6379/0", "unix:///path?db=0", "memory://".
    url: str
    #: For kombu's transport, beyond the timeouts below.
    transport_options: Mapping[str, object] = field(default_factory=dict[str, object])


def open_broker(address: BrokerAddress) -> Any:
    """Make a kombu connection, which connects at its first use.

    One connection per thread: kombu's are not shared. Imported late, since most of an agent's memory is its imports.

    Raises:
        ConfigError: The address is not one.
    """
    from kombu.connection import Connection

    from mesolite.transport.kombu_bus import kombu_url

    connect: Callable[..., Any] = Connection
    options: dict[str, object] = {"socket_timeout": SOCKET_TIMEOUT_S, "socket_connect_timeout": SOCKET_TIMEOUT_S}
    url = address.url if scheme_of(address.url) == MEMORY_SCHEME else kombu_url(address.url)
    return connect(url, transport_options={**options, **address.transport_options})


def broker_errors(connection: Any) -> tuple[type[BaseException], ...]:
    """Return what comes out of a connection when its broker is away, while it is used or closed.

    The transports share no root. KeyError and ValueError: kombu looks up file descriptors that a reconnection took away.
    """
    from kombu.exceptions import KombuError

    return (*connection.connection_errors, *connection.channel_errors, KombuError, OSError, KeyError, ValueError)
