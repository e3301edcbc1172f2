"""Addresses as kombu writes them, and what else its transports must be told: for Celery, for Flower, for anything on kombu.

Given these, kombu's own Sentinel transport finds a new primary. It does not notice one that it should leave while that still
answers; the command queues, where it matters, use `kombu_transport`.
"""

from urllib.parse import parse_qs, quote, unquote, urlsplit

from mesolite.errors import ConfigError

from .address import SENTINEL_SCHEME, parse_sentinel, scheme_of, shown


def kombu_url(url: str) -> str:
    """Return the address of a Redis as kombu and Celery write it.

    That of Sentinels says where each of them is; use it together with `kombu_transport_options`.

    Raises:
        ConfigError: It cannot be read.
    """
    scheme = scheme_of(url)
    if scheme == SENTINEL_SCHEME:
        return ";".join(_sentinel_urls(url))
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        port = "" if parts.port is None else f":{parts.port}"
        query = parse_qs(parts.query)
        in_path = "" if scheme == "unix" else parts.path.strip("/")
        database = int(query.get("db", [in_path])[0] or 0)
    except ValueError as error:
        raise ConfigError(f"the address {shown(url)} cannot be read: {error}") from None
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    if scheme == "unix":
        return f"redis+socket://{user}{quote(unquote(parts.path))}?virtual_host={database}"
    host = _bracketed(parts.hostname or "localhost")
    # Unlike redis-py, kombu does not check the server's certificate unless told to.
    secure = "" if scheme == "redis" else "?ssl_cert_reqs=" + query.get("ssl_cert_reqs", ["required"])[0]
    return f"{scheme}://{user}{host}{port}/{database}{secure}"


def kombu_transport_options(url: str) -> dict[str, object]:
    """Return what kombu needs to know of an address beside `kombu_url`: `transport_options`, `broker_transport_options`.

    Empty where the URL says it all. For Sentinels: the primary's name, how to log in to them, and that one which is dead
    is asked once; kombu leaves redis-py's default there, which asks it ten times.

    Raises:
        ConfigError: The address cannot be read.
    """
    if scheme_of(url) != SENTINEL_SCHEME:
        return {}
    # Not at the top: whoever has no Sentinels need not load it.
    from .sentinel import sentinel_options

    address = parse_sentinel(url)
    return {"master_name": address.master_name, "sentinel_kwargs": sentinel_options(address)}


def _sentinel_urls(url: str) -> list[str]:
    address = parse_sentinel(url)
    # kombu reads them from the first.
    name, secret = quote(address.username or "", safe=""), quote(address.password or "", safe="")
    user = f"{name}:{secret}@" if secret else ""
    return [f"sentinel://{user}{_bracketed(host)}:{port}/{address.db}" for host, port in address.sentinels]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
