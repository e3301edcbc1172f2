"""Makes a plain socket of a TLS connection: a socket can be handed to another process, its TLS session cannot.

    whoever has the plain end <--> socketpair <--> a thread here <--> TLS <--> server

The session lives in this process and ends with it; whoever has the plain end sees its end then, and asks for another.
"""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mesolite.errors import RedisUnavailable

#: Each takes a thread and two buffers. An agent has some tens of executors, each with a connection or two.
MAX_RELAYS: Final = 256
#: Read at once, and so the most that waits on either side; one record of TLS holds 16 KiB (RFC 8446, 5.1).
_CHUNK_BYTES: Final = 64 * 1024

_places: Final = threading.BoundedSemaphore(MAX_RELAYS)


def relay_tls(server: ssl.SSLSocket) -> socket.socket:
    """Return a blocking socket that carries what the TLS connection does, which belongs to a thread from now on.

    Raises:
        RedisUnavailable: MAX_RELAYS are open.
    """
    places = _places
    if not places.acquire(blocking=False):
        server.close()
        raise RedisUnavailable(
            f"this process has {MAX_RELAYS} connections over TLS open for others; none more is opened"
        )
    ours, theirs = socket.socketpair()
    threading.Thread(target=_relay, args=(server, ours, places), name="redis-tls", daemon=True).start()
    return theirs


def _relay(server: ssl.SSLSocket, plain: socket.socket, places: threading.Semaphore) -> None:
    try:
        with server, plain:
            server.setblocking(False)
            plain.setblocking(False)
            # A connection that breaks is told to both sides by its end; nobody else could do anything about it.
            with contextlib.suppress(OSError, _Ended):
                _carry(server, plain)
    finally:
        places.release()


class _Ended(Exception):
    """One side has hung up."""


@dataclass(slots=True)
class _Waiting:
    """What was read from one side and not yet taken by the other."""

    to_server: bytes = b""
    to_plain: bytes = b""
    #: TLS has something of its own to say, be it in order to read.
    tls_wants_write: bool = False


def _carry(server: ssl.SSLSocket, plain: socket.socket) -> None:
    """Carry bytes both ways until either side ends. What one side does not take is not followed by more from the other."""
    waiting = _Waiting()
    while True:
        waiting.tls_wants_write = False
        moved = [
            _move(lambda: _read_server(server, waiting), waiting),
            _move(lambda: _write_plain(plain, waiting), waiting),
            _move(lambda: _read_plain(plain, waiting), waiting),
            _move(lambda: _write_server(server, waiting), waiting),
        ]
        if not any(moved):
            _wait(server, plain, waiting)


def _move(step: Callable[[], bool], waiting: _Waiting) -> bool:
    """Try one step; false where it had nothing to do, or would have had to wait."""
    try:
        return step()
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except ssl.SSLWantWriteError:
        waiting.tls_wants_write = True
        return False


def _read_server(server: ssl.SSLSocket, waiting: _Waiting) -> bool:
    if waiting.to_plain:
        return False
    waiting.to_plain = server.recv(_CHUNK_BYTES)
    return _unless_ended(waiting.to_plain)


def _read_plain(plain: socket.socket, waiting: _Waiting) -> bool:
    if waiting.to_server:
        return False
    waiting.to_server = plain.recv(_CHUNK_BYTES)
    return _unless_ended(waiting.to_server)


def _write_server(server: ssl.SSLSocket, waiting: _Waiting) -> bool:
    if not waiting.to_server:
        return False
    waiting.to_server = waiting.to_server[server.send(waiting.to_server) :]
    return True


def _write_plain(plain: socket.socket, waiting: _Waiting) -> bool:
    if not waiting.to_plain:
        return False
    waiting.to_plain = waiting.to_plain[plain.send(waiting.to_plain) :]
    return True


def _unless_ended(data: bytes) -> bool:
    if not data:
        raise _Ended
    return True


def _wait(server: ssl.SSLSocket, plain: socket.socket, waiting: _Waiting) -> None:
    """Wait until something can be moved.

    A side of which nothing is wanted is left out: poll(2) would tell of its end all the time.
    """
    poll = select.poll()
    for side, reads, writes in (
        (server, not waiting.to_plain, waiting.tls_wants_write),
        (plain, not waiting.to_server, bool(waiting.to_plain)),
    ):
        if reads or writes:
            poll.register(side, (select.POLLIN if reads else 0) | (select.POLLOUT if writes else 0))
    poll.poll()
