"""Connections to block stores that are used again, and what an answer means: the block, lost for good, or not now.

One connection at a time serves one thread. A store closes what is idle for some seconds: a request on such a one is sent again
on a new one, and no try is lost. So every request may be sent twice, which harms neither reading nor storing.
"""

import contextlib
import http.client
import threading
from collections.abc import Callable, Generator
from http.client import HTTPConnection
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ..python.blocks import TIMEOUT_S, UnixConnection
from .blocks import BlockLost

#: What of a refusal is shown.
_SHOWN_BYTES: Final = 300
#: Connections kept to one store: as many as one task reads by at once.
_MAX_KEPT: Final = 4


class Unreachable(Exception):
    """Nobody answers, or not to the end: it may be better in a moment."""


class Place(NamedTuple):
    """A store: a socket's path, or else a host and port."""

    socket: Path | None
    host: str = ""
    port: int | None = None

    def __str__(self) -> str:
        return "the own agent" if self.socket is not None else f"{self.host}:{self.port}"


def place_of(url: str) -> tuple[Place, str]:
    """Where an address leads, and what to ask for there.

    Raises:
        BlockLost: It is none of a block store.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError("blocks are served over HTTP")
        return Place(None, parts.hostname, parts.port), f"{parts.path}?{parts.query}" if parts.query else parts.path
    except ValueError as error:
        raise BlockLost(f"{url!r} is no address of a block: {error}") from None


#: Sends a request on a connection.
Send = Callable[[http.client.HTTPConnection], None]


class Connections:
    """Those of one worker; all methods from any thread."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        #: Idle ones.
        self._kept: Final[dict[Place, list[http.client.HTTPConnection]]] = {}

    def close(self) -> None:
        """Close all that are idle: whoever waits for a thread of the store gets it."""
        with self._lock:
            idle = [each for kept in self._kept.values() for each in kept]
            self._kept.clear()
        for each in idle:
            each.close()

    @contextlib.contextmanager
    def answer(self, place: Place, send: Send) -> Generator[http.client.HTTPResponse, None, None]:
        """Send a request and give its answer, to be read to the end within the context.

        Raises:
            Unreachable: Nobody answers, or stops in the middle.
        """
        connection, answer = self._asked(place, send)
        try:
            yield answer
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(f"{place}: {error or type(error).__name__}") from error
        except BaseException:
            connection.close()
            raise
        if answer.isclosed() and not answer.will_close:
            self._keep(place, connection)
        else:
            connection.close()

    def _asked(self, place: Place, send: Send) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        while True:
            connection = self._idle(place)
            used = connection is not None
            if connection is None:
                connection = _new(place)
            try:
                send(connection)
                return connection, connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # It may have been closed for being idle; those kept beside it are tried up, then comes a new one.
                if not used:
                    raise Unreachable(f"{place}: {error or type(error).__name__}") from error
            except BaseException:
                connection.close()
                raise

    def _idle(self, place: Place) -> http.client.HTTPConnection | None:
        with self._lock:
            kept = self._kept.get(place)
            return kept.pop() if kept else None

    def _keep(self, place: Place, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            kept = self._kept.setdefault(place, [])
            if len(kept) < _MAX_KEPT:
                kept.append(connection)
                return
        connection.close()


def refused(answer: http.client.HTTPResponse, place: Place, block_id: str) -> BlockLost:
    """What an answer that is no success says."""
    text = answer.read(_SHOWN_BYTES).decode(errors="replace").strip()
    return BlockLost(f"block {block_id}: {place} says {answer.status} {text}")


def _new(place: Place) -> http.client.HTTPConnection:
    if place.socket is not None:
        return UnixConnection(place.socket)
    return HTTPConnection(place.host, place.port, timeout=TIMEOUT_S)
