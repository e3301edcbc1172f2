"""Which address others reach this machine, or this container, by: what a server that is bound to all of them is to say of itself.

A server bound to 0.0.0.0 listens everywhere and can be named nowhere. Where a container's address is not known beforehand,
its settings say `auto`, and the address is looked for when the process starts.
"""

import socket
import urllib.parse
from typing import Final

from mesolite.errors import ConfigError

#: The setting `http_advertise_host` that asks for `own_address`.
AUTO: Final = "auto"

#: An address of documentation's (RFC 5737, TEST-NET-2), which is on nobody's network: the way to it is the default route.
_SOMEWHERE_ELSE: Final = ("198.51.100.1", 9)


def own_address() -> str:
    """Return the IPv4 address of the interface that the default route leads through.

    Connecting a datagram socket sends nothing; it makes the kernel choose the address that it would send from (ip(7)).

    Raises:
        ConfigError: There is no default route.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE_ELSE)
        except OSError as error:
            raise ConfigError(
                f"the address of this machine cannot be found ({error.strerror}); "
                f"give it as http_advertise_host instead of {AUTO!r}"
            ) from None
        address: str = probe.getsockname()[0]
        return address


def advertised_url(bound_url: str, host: str | None) -> str:
    """Return the URL that others are told of a server.

    Args:
        bound_url: Where it listens: "http://0.0.0.0:5051".
        host: The name or address to put there, `auto` for `own_address`; as bound where absent or empty.

    Raises:
        ConfigError: `auto`, and there is no default route.
    """
    if not host:
        return bound_url
    if host == AUTO:
        host = own_address()
    parts = urllib.parse.urlsplit(bound_url)
    # An IPv6 address holds colons itself (RFC 3986, 3.2.2).
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return parts._replace(netloc=shown if parts.port is None else f"{shown}:{parts.port}").geturl()
