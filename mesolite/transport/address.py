"""Addresses of a Redis: which kinds there are, and how one is shown without its password."""

from typing import Final
from urllib.parse import urlsplit

from mesolite.errors import ConfigError

#: One process, no server.
MEMORY_SCHEME: Final = "memory"
#: A Redis over TCP, over TLS, and over a unix socket.
REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})


def scheme_of(url: str) -> str:
    """Return what kind of address this is: "memory", "redis", "rediss" or "unix".

    Raises:
        ConfigError: It is none of them.
    """
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if separator and (scheme == MEMORY_SCHEME or scheme in REDIS_SCHEMES):
        return scheme
    raise ConfigError(
        f"{shown(url)!r} is not an address of a Redis: write redis://HOST:PORT/DB, rediss://HOST:PORT/DB, "
        "unix:///PATH?db=DB or memory://"
    )


def shown(url: str) -> str:
    """Return the address for logs and errors: without user, password and query, which may hold secrets too.

    Total: what is not an address at all is shown as "?", because a password may stand anywhere in it.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "?"
    if not parts.scheme:
        return "?"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
