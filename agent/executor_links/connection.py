"""One connection of an executor: its socket, what was heard on it in part, and what still has to leave on it."""

import contextlib
import select
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from mesolite.ids import ContainerId, FrameworkId

from .reader import CallReader

#: Read at once: more than most batches, little enough that one executor does not keep others waiting.
READ_BYTES: Final = 256 * 1024
_READS: Final = select.EPOLLIN
_WRITES: Final = select.EPOLLOUT


@dataclass(slots=True, eq=False)
class Connection:
    """Guarded by the lock of the links, but for `reader`, which is their thread's."""

    container_id: ContainerId
    opened: socket.socket
    #: Tells `epoll` what is waited for.
    epoll: select.epoll
    #: When it must have subscribed, or, once it is ending, taken what was said (monotonic seconds); None: no haste.
    deadline_s: float | None
    reader: CallReader = field(default_factory=CallReader)
    #: 0 until it subscribed.
    number: int = 0
    #: It is to be closed when nothing waits any more, and nothing that comes on it is heard.
    ending: bool = False
    closed: bool = False
    #: Why the agent ends it; empty where the executor did, or nobody.
    fault: str = ""
    waiting: deque[memoryview] = field(default_factory=deque[memoryview])
    waiting_bytes: int = 0

    def say(self, data: bytes) -> None:
        """Send at once what the kernel takes, and keep the rest for `flush`."""
        if self.closed:
            return
        rest = memoryview(data)
        if not self.waiting:
            rest = rest[self._sent(rest) :]
            if rest:
                self.epoll.modify(self.opened, _READS | _WRITES)
        if rest:
            self.waiting.append(rest)
            self.waiting_bytes += len(rest)

    def flush(self) -> None:
        """Send what waits, as far as the kernel takes it."""
        while self.waiting:
            piece = self.waiting[0]
            sent = self._sent(piece)
            self.waiting_bytes -= sent
            if sent < len(piece):
                self.waiting[0] = piece[sent:]
                return
            self.waiting.popleft()
        self.epoll.modify(self.opened, _READS)
        if self.ending:
            self.cut()

    def read(self) -> bytes | None:
        """What came; empty where the executor hung up, None where nothing did."""
        try:
            return self.opened.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def cut(self) -> None:
        """End it in both directions: the links' thread sees that and closes it. What the kernel has taken still arrives."""
        with contextlib.suppress(OSError):
            self.opened.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket."""
        self.closed = True
        self.epoll.unregister(self.opened)
        self.opened.close()
        self.waiting.clear()
        self.waiting_bytes = 0

    def _sent(self, data: memoryview) -> int:
        """How much the kernel took. Of a connection that is broken it takes all: its end is seen by reading."""
        try:
            return self.opened.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)


@dataclass(slots=True, eq=False)
class Caller:
    """An executor that may connect; guarded by the lock of the links."""

    container_id: ContainerId
    framework_id: FrameworkId
    #: Its listening sockets, by name.
    doors: dict[str, socket.socket]
    #: The newest on which it subscribed.
    current: Connection | None = None
    #: Those that have not subscribed yet, oldest first.
    fresh: list[Connection] = field(default_factory=list[Connection])
