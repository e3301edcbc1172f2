"""`mesolite flower`: Celery's Flower for a cluster, whatever its Redis address looks like.

Flower is told its broker by a Celery application. One is made here, with every wait bounded, so that a primary that hangs or
is replaced by Sentinel costs Flower seconds instead of its eyes: Flower itself begins to listen anew when a connection fails.
"""

import os
import socket
from typing import Any, Final
from urllib.parse import quote

import click

from mesolite.config import FlowerConfig
from mesolite.transport.address import SENTINEL_SCHEME, parse_sentinel, scheme_of

from .options import config_options, read_config

#: A broker that does not answer for so long counts as gone.
SOCKET_TIMEOUT_S: Final = 5.0
#: Keepalive of its connections: silence, then so many probes at this distance; a peer whose host vanished is noticed in 25 s.
_KEEPALIVE: Final = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
}


@click.command()
@config_options(FlowerConfig, "flower")
@click.pass_context
def flower(ctx: click.Context, /, **_: object) -> None:
    """Run Flower in the foreground; it shows agents as Celery workers and tasks as Celery tasks."""
    settings = read_config(ctx, FlowerConfig, "flower")
    # Its API is what terminates tasks from the page and from scripts; without this it asks for a login that nobody has.
    os.environ.setdefault("FLOWER_UNAUTHENTICATED_API", "1")
    celery_app(settings.redis_url).start(
        ["flower", f"--address={settings.http_host}", f"--port={settings.http_port}", f"--logging={settings.log_level}"]
    )


def celery_app(redis_url: str) -> Any:
    """Return a Celery application whose broker is the cluster's Redis.

    Raises:
        ConfigError: The address cannot be used.
    """
    from celery import Celery

    url, options = broker_settings(redis_url)
    application = Celery("mesolite", broker=url, set_as_current=False)
    application.conf.update(broker_transport_options=options, broker_connection_retry_on_startup=True)
    return application


def broker_settings(redis_url: str) -> tuple[str, dict[str, object]]:
    """Return an address as Celery takes it: a URL and options of its transport.

    Raises:
        ConfigError: The address cannot be used.
    """
    from mesolite.transport.kombu_bus import kombu_url

    options: dict[str, object] = {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        "socket_keepalive": True,
        "socket_keepalive_options": _KEEPALIVE,
    }
    if scheme_of(redis_url) != SENTINEL_SCHEME:
        return kombu_url(redis_url), options
    address = parse_sentinel(redis_url)
    user = ""
    if address.password is not None:
        user = f"{quote(address.username or '', safe='')}:{quote(address.password, safe='')}@"
    sentinel_options: dict[str, object] = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
    if address.sentinel_password is not None:
        sentinel_options |= {"username": address.sentinel_username, "password": address.sentinel_password}
    options |= {"master_name": address.master_name, "sentinel_kwargs": sentinel_options}
    return ";".join(f"sentinel://{user}{host}:{port}/{address.db}" for host, port in address.sentinels), options
