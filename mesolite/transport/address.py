"""Addresses of a Redis: which kinds there are, what a Sentinel address says, and how one is shown without its password."""

from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from mesolite.errors import ConfigError

#: One process, no server.
MEMORY_SCHEME: Final = "memory"
#: A Redis over TCP, over TLS, and over a unix socket.
REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})
#: The primary that some Sentinels know.
SENTINEL_SCHEME: Final = "sentinel"

SENTINEL_FORM: Final = "sentinel://[[USER]:PASSWORD@]HOST:PORT[,HOST:PORT...]/MASTER_NAME[/DB]"
#: Where Sentinel listens unless told otherwise.
_SENTINEL_PORT: Final = 26_379
_LAST_PORT: Final = 65_535
#: How many replicas confirm a write of the lease where the address does not say: one more server than the primary then has
#: it, and of the usual two replicas either may be away.
_DEFAULT_REPLICAS: Final = 1


class SentinelAddress(msgspec.Struct, frozen=True, kw_only=True):
    """What a `sentinel://` address says."""

    #: Host and port of each Sentinel, in the order in which they are asked at first.
    sentinels: tuple[tuple[str, int], ...]
    #: What the Sentinels call the primary (`sentinel monitor NAME ...`).
    master_name: str
    #: The database.
    db: int = 0
    #: For the primary.
    username: str | None = None
    password: str | None = None
    #: For the Sentinels, which have users and passwords of their own.
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    #: How many replicas must confirm a write of the lease (WAIT); 0 or more.
    replicas: int = _DEFAULT_REPLICAS


def scheme_of(url: str) -> str:
    """Return what kind of address this is: "memory", "redis", "rediss", "unix" or "sentinel".

    Raises:
        ConfigError: It is none of them.
    """
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if separator and (scheme in {MEMORY_SCHEME, SENTINEL_SCHEME} or scheme in REDIS_SCHEMES):
        return scheme
    raise ConfigError(
        f"{shown(url)!r} is not an address of a Redis: write redis://HOST:PORT/DB, rediss://HOST:PORT/DB, "
        f"unix:///PATH?db=DB, {SENTINEL_FORM} or memory://"
    )


def parse_sentinel(url: str) -> SentinelAddress:
    """Read a `sentinel://` address.

    Args:
        url: SENTINEL_FORM, with `?sentinel_password=`, `sentinel_user=` and `replicas=` where they are needed. A port that is
            not given is 26379. Characters that have a meaning in addresses are written %XX in names and passwords.

    Raises:
        ConfigError: It is not of this form; says what is wrong, without passwords.
    """
    address = url.partition("://")[2]
    if scheme_of(url) != SENTINEL_SCHEME or "#" in address:
        raise _unreadable(url, "a '#' or '/' in a password is written %23 or %2F")
    before_query, _, query = address.partition("?")
    authority, _, path = before_query.partition("/")
    userinfo, has_user, hosts = authority.rpartition("@")
    username, has_password, password = userinfo.partition(":")
    if has_user and not has_password:
        raise _unreadable(url, "before the @ stands USER:PASSWORD or :PASSWORD")
    master_name, _, db = path.partition("/")
    if not master_name:
        raise _unreadable(url, "the name of the primary is missing behind the hosts")
    options = _options(url, query)
    return SentinelAddress(
        sentinels=tuple(_host_and_port(url, host) for host in hosts.split(",")),
        master_name=unquote(master_name),
        db=_whole_number(url, "the database", db or "0"),
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=options.get("sentinel_user"),
        sentinel_password=options.get("sentinel_password"),
        replicas=_whole_number(url, "replicas", options.get("replicas", str(_DEFAULT_REPLICAS))),
    )


def confirming_replicas(url: str) -> int:
    """Return how many replicas must confirm a write of the lease (Redis `WAIT`): 0 unless the address is of Sentinels.

    Raises:
        ConfigError: The address cannot be read.
    """
    return parse_sentinel(url).replicas if scheme_of(url) == SENTINEL_SCHEME else 0


def shown(url: str) -> str:
    """Return the address for logs and errors: without user, password and query, which may hold secrets too.

    Total: what is not an address at all is shown as "?", because a password may stand anywhere in it; so is one with an "@"
    behind a "?" or "#", which may belong to a password that was not escaped.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "?"
    if not parts.scheme or "@" in parts.query or "@" in parts.fragment:
        return "?"
    return f"{parts.scheme}://{(parts.netloc + parts.path).rpartition('@')[2]}"


def _host_and_port(url: str, text: str) -> tuple[str, int]:
    """Read "host", "host:port", "[v6]" or "[v6]:port"."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        port_given, port = rest[:1] == ":", rest[1:]
        if not closed or (rest and not port_given):
            raise _unreadable(url, "an IPv6 address is written [ADDRESS]:PORT")
    else:
        host, separator, port = text.partition(":")
        port_given = bool(separator)
    number = _whole_number(url, "a port", port) if port_given else _SENTINEL_PORT
    if not host or not 0 < number <= _LAST_PORT:
        raise _unreadable(url, "each Sentinel is HOST:PORT, one from the next by a comma")
    return host, number


def _options(url: str, query: str) -> dict[str, str]:
    known = ("sentinel_password", "sentinel_user", "replicas")
    try:
        pairs = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise _unreadable(url, "behind the ? stand NAME=VALUE pairs with & between them") from None
    if any(name not in known or len(values) > 1 or not values[0] for name, values in pairs.items()):
        raise _unreadable(url, f"behind the ? only {', '.join(known)} may stand, each once, with a value")
    return {name: values[0] for name, values in pairs.items()}


def _whole_number(url: str, what: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise _unreadable(url, f"{what} is a whole number")
    return int(text)


def _unreadable(url: str, reason: str) -> ConfigError:
    return ConfigError(f"the address {shown(url)} cannot be read: {reason}; write {SENTINEL_FORM}")
