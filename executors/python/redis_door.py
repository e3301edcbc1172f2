"""Asks the agent for connections to Redis: `redis.sock` says one JSON line and hands over a connected socket.

The agent may need seconds to answer, when it has to find a primary first; meanwhile the loop goes on.
"""

import json
import socket
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from ..driver.loop import Loop, Timer

#: Longer than an agent takes that asks Sentinels and finds nobody.
ANSWER_TIMEOUT_MS: Final = 15_000
_MAX_LINE_BYTES: Final = 64 * 1024

#: Told the beginning of the cluster's keys, and the socket.
Opened: TypeAlias = Callable[[str, socket.socket], None]
#: Told why there is none, for people.
Failed: TypeAlias = Callable[[str], None]


class RedisDoor:
    """One request for one connection; exactly one of the two callbacks comes, from the loop, unless it is given up."""

    def __init__(self, loop: Loop, path: str, opened: Opened, failed: Failed) -> None:
        self._loop: Final = loop
        self._opened: Final = opened
        self._failed: Final = failed
        self._line = b""
        self._handed: list[int] = []
        self._socket: Final = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._timer: Timer | None = None
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            message = f"the agent does not serve {path}: {error.strerror or error}"
            self._timer = loop.call_later(0, lambda: failed(message))
            return
        self._socket.setblocking(False)
        loop.add_reader(self._socket.fileno(), self._readable)
        self._timer = loop.call_later(ANSWER_TIMEOUT_MS, lambda: self._fail("the agent does not answer"))

    def give_up(self) -> None:
        """Want no connection any more."""
        self._close()
        for descriptor in self._handed:
            socket.close(descriptor)
        self._handed.clear()

    def _readable(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 4, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(str(error))
            return
        self._handed += descriptors
        self._line += data
        if b"\n" in self._line:
            self._answered()
        elif not data or len(self._line) > _MAX_LINE_BYTES:
            self._fail("the agent says nothing that makes sense")

    def _answered(self) -> None:
        try:
            answer: object = json.loads(self._line.partition(b"\n")[0])
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._fail("the agent says nothing that makes sense")
            return
        said = cast("dict[str, object]", answer)
        prefix = said.get("prefix")
        if not isinstance(prefix, str) or len(self._handed) != 1:
            self._fail(str(said.get("error") or "the agent hands over no connection"))
            return
        self._close()
        [descriptor] = self._handed
        self._handed.clear()
        self._opened(prefix, socket.socket(fileno=descriptor))

    def _fail(self, message: str) -> None:
        self.give_up()
        self._failed(message)

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove(self._socket.fileno())
            self._socket.close()
