"""A connection to the cluster's Redis as a bare socket, for whoever speaks to Redis by other means than redis-py.

An executor speaks to Redis through a socket that its agent has opened and hands over: so a container needs neither a network
nor a password. What is handed over speaks RESP2, is logged in, has its database selected, and has nothing left unread.
"""

# redis-py's connections have hardly any types.
# mypy: disallow-untyped-calls=False

import socket
import ssl
from contextlib import closing
from typing import Any, Final

from .address import shown
from .redis_client import connect, redis_errors
from .tls_relay import relay_tls

#: A connection that says nothing for so long is asked by the kernel whether anybody is there, and given up some minutes later:
#: its reader may wait for ever, and a server that vanished without a word would keep it waiting (tcp(7)).
_KEEPALIVE_IDLE_S: Final = 30
_KEEPALIVE_EVERY_S: Final = 10
_KEEPALIVE_PROBES: Final = 3


def connect_raw(url: str, *, timeout_s: float) -> socket.socket:
    """Return a connected socket on the cluster's Redis, logged in, blocking, its database selected, in RESP2.

    Under Sentinels it is one of the primary, which was asked whether it is that. Over TLS it is one end of a pair, and a
    thread carries the bytes between the other end and the server.

    Args:
        url: As in `redis_client.connect`.
        timeout_s: For connecting, and again for each answer until the connection can be used.

    Raises:
        RedisUnavailable: Nothing answers, the password is wrong, or too many connections over TLS are open.
        ConfigError: The address cannot be read.
    """
    with closing(connect(url)) as client:
        pool = client.connection_pool
        pool.connection_kwargs |= {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        with redis_errors(shown(url)):
            connection: Any = pool.make_connection()
            connection.connect()
            # redis-py would close what it holds. Its parser has read each answer to its end, and RESP2 sends nothing unasked.
            opened: socket.socket = connection._sock
            connection._sock = None
            connection.disconnect()
            return _made_ready(opened)


def _made_ready(opened: socket.socket) -> socket.socket:
    if isinstance(opened, ssl.SSLSocket):
        return relay_tls(opened)
    if opened.family != socket.AF_UNIX:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_EVERY_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
    opened.setblocking(True)
    return opened
