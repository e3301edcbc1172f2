"""A connection to Redis on a socket that somebody else opened: nothing here waits; whoever has an event loop waits for it.

Writes leave at once as far as the kernel takes them, so that a single call is under way when `send` returns. The rest is kept
and leaves with `push`, when the socket takes more.
"""

import contextlib
import socket
from typing import Final, Protocol

from .resp import NotRedis, Reply, ReplyParser

#: Read at once: a batch of results in one call of the kernel.
_RECEIVE_BYTES: Final = 256 * 1024
#: As much may wait for a Redis that does not read. What is under way over the streams is bounded below that (`link`); beyond it
#: something is broken.
MAX_UNSENT_BYTES: Final = 256 * 1024 * 1024


class Replies(Protocol):
    """Bytes in, replies out: `resp.ReplyParser`, or what a program has that is quicker."""

    def feed(self, data: bytes, /) -> list[Reply]:
        """Take bytes, and return the replies that they complete; raises NotRedis."""
        ...


class ConnectionLost(Exception):
    """The connection to Redis is of no use any more; says why."""


class RedisSocket:
    """One connection. Used by one thread at a time.

    Args:
        opened: Connected and logged in; belongs to this object from now on.
        parser: Reads what comes; has read nothing yet.
    """

    def __init__(self, opened: socket.socket, parser: Replies | None = None) -> None:
        opened.setblocking(False)
        self._socket: Final = opened
        self._parser: Final = ReplyParser() if parser is None else parser
        #: What the kernel did not take yet.
        self._unsent = bytearray()

    def fileno(self) -> int:
        """Return the descriptor, for whoever waits for it."""
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for the socket to take more."""
        return bool(self._unsent)

    def send(self, data: bytes) -> None:
        """Send, now or as soon as the socket takes it.

        Raises:
            ConnectionLost: The connection is broken, or takes nothing.
        """
        if self._unsent:
            if len(self._unsent) + len(data) > MAX_UNSENT_BYTES:
                raise ConnectionLost("Redis reads nothing")
            self._unsent += data
            return
        sent = self._send_some(data)
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]

    def push(self) -> None:
        """Send more of what waits.

        Raises:
            ConnectionLost: The connection is broken.
        """
        if self._unsent:
            with memoryview(self._unsent) as waiting:
                sent = self._send_some(waiting)
            del self._unsent[:sent]

    def receive(self) -> list[Reply]:
        """Return the replies that came, if any.

        Raises:
            ConnectionLost: The connection is broken, or what came is not RESP.
        """
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
            if data:
                return self._parser.feed(data)
        except BlockingIOError:
            return []
        except (OSError, NotRedis) as error:
            raise ConnectionLost(str(error)) from error
        raise ConnectionLost("Redis closed the connection")

    def shutdown(self) -> None:
        """End the connection without closing the socket, so that whoever waits for it wakes up; from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; what waits is dropped."""
        self._socket.close()

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionLost(str(error)) from error
