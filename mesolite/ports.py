"""Ports for servers that must come back on the same one."""

import secrets
import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"

#: Below 32768, where Linux begins to give ports to outgoing connections (ip_local_port_range): a server that was restarted finds
#: its port taken by somebody's passing connection otherwise. Above what well-known services listen on.
FIRST_PORT: Final = 20_000
LAST_PORT: Final = 31_999
#: The range would have to be nearly full.
_ATTEMPTS: Final = 200


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment.

    Raises:
        OSError: None was found.
    """
    for _ in range(_ATTEMPTS):
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT + 1)
        if is_free(port):
            return port
    raise OSError(f"no free port was found between {FIRST_PORT} and {LAST_PORT}")


def is_free(port: int) -> bool:
    """Say whether a server could listen on a port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As servers do: connections that linger after an earlier server do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
