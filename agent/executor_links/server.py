"""The agent's end of all executors' sockets, in one thread.

    executor --line--> [epoll thread: read, decode] --ExecutorSpoke--> sink
    shell's thread --send--> written at once; what the kernel does not take leaves from the epoll thread

All news come from the epoll thread, so that they come in their order: whoever ends a connection elsewhere only cuts it, and the
thread sees its end. A connection counts from its SUBSCRIBE on; a newer one of the same executor takes its place.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from mesolite.ids import ContainerId, FrameworkId
from mesolite.logs import get_logger
from mesolite.protocol import ExecutorEvent
from mesolite.protocol.executor import ExecutorError

from ..containerizer.policy import AGENT_SOCKET, User
from .connection import Caller, Connection
from .contract import ExecutorHungUp, ExecutorSpoke, LinkSink
from .doors import open_doors, remove_doors

#: What may wait for an executor that does not read: some times what the largest batch of commands (16 MiB) comes to in base64.
MAX_UNREAD_BYTES: Final = 64 * 1024 * 1024
#: A connection has said SUBSCRIBE by then: it is the first thing that an executor does, and it has it at hand.
SUBSCRIBE_WITHIN_S: Final = 10.0
#: Connections of one executor that have not subscribed. One is enough; the oldest goes when there are more.
MAX_FRESH_CONNECTIONS: Final = 4
#: What a socket holds is read within so many: the kernel keeps some 200 KiB (net.core.wmem_default), and many small writes less.
_READS_TO_HEAR_OUT: Final = 64
#: Connections that are accepted at one door before others have their turn.
_ACCEPTS_PER_TURN: Final = 16
#: How long what was said to an executor before the agent hangs up may take to be read.
_HANG_UP_WITHIN_S: Final = 5.0
#: How long nothing is read while the agent's core has more to do than it can.
_CROWDED_PAUSE_S: Final = 0.005
#: How long nothing is done after the host refused a connection's descriptor: whoever asks for it goes on asking.
_REFUSED_PAUSE_S: Final = 0.1

#: Takes a connection at another door than the agent's own; called from the links' thread, must not block, owns the socket.
SideDoor: TypeAlias = Callable[[ContainerId, FrameworkId, socket.socket], None]

_log = get_logger("mesolite.agent")


class UnixExecutorLinks:
    """See `ExecutorLinks`."""

    def __init__(
        self,
        root: Path,
        sink: LinkSink,
        *,
        user: User,
        side_doors: Mapping[str, SideDoor] | None = None,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin to serve; there is nobody yet.

        Args:
            root: The directory in which each executor has one with its sockets.
            sink: Takes the news.
            user: Whose the sockets are, unless their container's containerizer says otherwise.
            side_doors: Sockets beside `agent.sock`, and who takes their connections.
            crowded: Whether nothing more should be read now.
        """
        self._root: Final = root
        self._sink: Final = sink
        self._user: Final = user
        self._side_doors: Final = dict(side_doors or {})
        self._crowded: Final = crowded
        self._encoder: Final = msgspec.json.Encoder()
        self._epoll: Final = select.epoll()
        self._wake: Final = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        #: Guards everything below, and all use of sockets.
        self._lock: Final = threading.Lock()
        self._callers: Final[dict[ContainerId, Caller]] = {}
        #: What `epoll` watches, by descriptor.
        self._doors: Final[dict[int, tuple[Caller, str]]] = {}
        self._connections: Final[dict[int, Connection]] = {}
        self._connections_made = 0
        #: See `when_heard`.
        self._afterwards: Final[deque[tuple[ContainerId, Callable[[], None]]]] = deque()
        self._stopping = threading.Event()
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread: Final = threading.Thread(target=self._run, name="executor-links", daemon=True)
        self._thread.start()

    # -- what the agent asks ------------------------------------------------------------------------------------------

    def socket_dir(self, container_id: ContainerId) -> Path:
        """See `ExecutorLinks`."""
        return self._root / container_id

    def open(self, container_id: ContainerId, framework_id: FrameworkId) -> None:
        """See `ExecutorLinks`."""
        with self._lock:
            if container_id in self._callers or self._stopping.is_set():
                return
            doors = open_doors(self.socket_dir(container_id), (AGENT_SOCKET, *self._side_doors), self._user)
            caller = self._callers[container_id] = Caller(container_id, framework_id, doors)
            for name, door in doors.items():
                self._doors[door.fileno()] = (caller, name)
                self._epoll.register(door, select.EPOLLIN)

    def send(self, container_id: ContainerId, connection: int, events: Sequence[ExecutorEvent]) -> None:
        """See `ExecutorLinks`."""
        data = self._encoder.encode_lines(events)
        with self._lock:
            current = self._current(container_id, connection)
            if current is None or current.ending:
                return
            current.say(data)
            if current.waiting_bytes > MAX_UNREAD_BYTES:
                current.fault = f"{current.waiting_bytes} bytes wait for it, and it does not read"
                current.ending = True
                current.cut()

    def hang_up(self, container_id: ContainerId, connection: int) -> None:
        """See `ExecutorLinks`."""
        with self._lock:
            current = self._current(container_id, connection)
            if current is not None:
                self._end_after_words(current)

    def close(self, container_id: ContainerId) -> None:
        """See `ExecutorLinks`."""
        with self._lock:
            caller = self._callers.pop(container_id, None)
            if caller is None:
                return
            self._close_doors(caller)
            for connection in [*caller.fresh, *([caller.current] if caller.current is not None else [])]:
                connection.ending = True
                connection.cut()
        remove_doors(self.socket_dir(container_id))

    def stop(self) -> None:
        """See `ExecutorLinks`."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        with self._lock:
            for caller in self._callers.values():
                self._close_doors(caller)
            for connection in list(self._connections.values()):
                connection.close()
            self._callers.clear()
            self._connections.clear()
        self._epoll.close()
        os.close(self._wake)

    def when_heard(self, container_id: ContainerId, then: Callable[[], None]) -> None:
        """Call something once all is with the sink that an executor has said until now; from the links' thread, or at once.

        For the end of its container: what it said last may wait in its socket when the kernel tells that it is dead.
        """
        with self._lock:
            waits = container_id in self._callers and not self._stopping.is_set()
            if waits:
                self._afterwards.append((container_id, then))
                os.eventfd_write(self._wake, 1)
        if not waits:
            then()

    def frameworks(self) -> frozenset[FrameworkId]:
        """Whose executors there are."""
        with self._lock:
            return frozenset(caller.framework_id for caller in self._callers.values())

    # -- under the lock -----------------------------------------------------------------------------------------------

    def _current(self, container_id: ContainerId, connection: int) -> Connection | None:
        caller = self._callers.get(container_id)
        current = caller.current if caller is not None else None
        return current if current is not None and current.number == connection else None

    def _end_after_words(self, connection: Connection) -> None:
        """End a connection as soon as nothing waits for it any more."""
        connection.ending = True
        if not connection.waiting:
            connection.cut()
            return
        connection.deadline_s = time.monotonic() + _HANG_UP_WITHIN_S
        os.eventfd_write(self._wake, 1)

    def _close_doors(self, caller: Caller) -> None:
        for door in caller.doors.values():
            del self._doors[door.fileno()]
            self._epoll.unregister(door)
            door.close()
        caller.doors.clear()

    def _admit(self, caller: Caller, opened: socket.socket) -> Connection:
        opened.setblocking(False)
        connection = Connection(
            caller.container_id, opened, self._epoll, deadline_s=time.monotonic() + SUBSCRIBE_WITHIN_S
        )
        self._connections[opened.fileno()] = connection
        self._epoll.register(opened, select.EPOLLIN)
        caller.fresh.append(connection)
        for oldest in caller.fresh[:-MAX_FRESH_CONNECTIONS]:
            oldest.ending = True
            oldest.cut()
        return connection

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            for descriptor, happened in self._epoll.poll(self._patience_s()):
                self._serve(descriptor, happened)
            self._end_overdue()
            self._hear_out()
            while self._crowded() and not self._stopping.wait(_CROWDED_PAUSE_S):
                pass

    def _patience_s(self) -> float | None:
        """Until somebody's deadline; None where there is none."""
        with self._lock:
            deadlines = [each.deadline_s for each in self._connections.values() if each.deadline_s is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _end_overdue(self) -> None:
        now_s = time.monotonic()
        with self._lock:
            overdue = [
                each for each in self._connections.values() if each.deadline_s is not None and each.deadline_s <= now_s
            ]
        for connection in overdue:
            if not connection.ending:
                self._refuse(connection, f"SUBSCRIBE did not come within {SUBSCRIBE_WITHIN_S:g} s")
            self._end(connection)

    def _hear_out(self) -> None:
        """Read what those have left who are asked for by `when_heard`."""
        while True:
            with self._lock:
                if not self._afterwards:
                    return
                container_id, then = self._afterwards.popleft()
                caller = self._callers.get(container_id)
                connection = caller.current if caller is not None else None
            for _ in range(_READS_TO_HEAR_OUT):
                if connection is None or not self._read(connection):
                    break
            then()

    def _serve(self, descriptor: int, happened: int) -> None:
        if descriptor == self._wake:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            return
        with self._lock:
            door = self._doors.get(descriptor)
            connection = self._connections.get(descriptor)
            if connection is not None and happened & select.EPOLLOUT:
                connection.flush()
        if door is not None:
            self._accept(*door)
        elif connection is not None and happened & ~select.EPOLLOUT:
            self._read(connection)

    def _accept(self, caller: Caller, name: str) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            with self._lock:
                if name not in caller.doors:
                    return
                try:
                    opened = caller.doors[name].accept()[0]
                except BlockingIOError:
                    return
                except OSError as error:
                    # Out of descriptors, for one: whoever asks waits, and is taken when there are some again.
                    _log.warning("agent.executor_not_accepted", container_id=caller.container_id, error=str(error))
                    self._stopping.wait(_REFUSED_PAUSE_S)
                    return
                connection = self._admit(caller, opened) if name == AGENT_SOCKET else None
            if connection is not None:
                # Whoever connects speaks at once: mostly it is there already.
                self._read(connection)
            else:
                self._side_doors[name](caller.container_id, caller.framework_id, opened)

    def _read(self, connection: Connection) -> bool:
        """Take up what came on a connection; false where that was nothing, or its end."""
        with self._lock:
            if connection.closed:
                return False
            data = connection.read()
        if data is None:
            return False
        if not data:
            self._end(connection)
            return False
        if connection.ending:
            return True
        heard = connection.reader.take(data)
        if heard.calls and (connection.number or self._subscribe(connection)):
            self._sink(
                ExecutorSpoke(container_id=connection.container_id, connection=connection.number, calls=heard.calls)
            )
        if heard.fault:
            self._refuse(connection, heard.fault)
        return True

    def _subscribe(self, connection: Connection) -> bool:
        """Make it the one that counts; false where its executor is over."""
        with self._lock:
            caller = self._callers.get(connection.container_id)
            if caller is None or connection not in caller.fresh:
                return False
            caller.fresh.remove(connection)
            former, caller.current = caller.current, connection
            connection.deadline_s = None
            self._connections_made += 1
            connection.number = self._connections_made
        if former is not None:
            self._end(former)
        return True

    def _refuse(self, connection: Connection, fault: str) -> None:
        """Say what is wrong and hang up."""
        _log.warning("agent.executor_refused", container_id=connection.container_id, reason=fault)
        with self._lock:
            connection.fault = fault
            if not connection.closed:
                connection.say(self._encoder.encode_lines([ExecutorError(message=fault)]))
                self._end_after_words(connection)

    def _end(self, connection: Connection) -> None:
        """Close it, and tell where it counted."""
        with self._lock:
            if connection.closed:
                return
            del self._connections[connection.opened.fileno()]
            connection.close()
            caller = self._callers.get(connection.container_id)
            if caller is not None and caller.current is connection:
                caller.current = None
            elif caller is not None and connection in caller.fresh:
                caller.fresh.remove(connection)
        if connection.number:
            self._sink(
                ExecutorHungUp(
                    container_id=connection.container_id, connection=connection.number, fault=connection.fault
                )
            )
