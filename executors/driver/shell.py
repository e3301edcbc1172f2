"""The executor's end of its agent's socket: lines in, lines out, on the loop's thread. It decides nothing.

What is said in one turn of the loop leaves in one write. A slow agent holds up nobody: what it does not take waits here, within
the window that the core keeps; while a lot waits nothing more is read, so that an agent which only asks cannot fill the executor.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Final

from .codec import BadLine, decode_lines, encode
from .events import AgentBabbled, AgentSpoke, Connected, ConnectFailed, Disconnected, Event
from .loop import Loop
from .protocol import MAX_LINE_BYTES, ExecutorMessage
from .sockets import SocketDirectory

#: Taken from the socket at once. Above 128 KiB the allocator maps fresh pages for every read.
READ_BYTES: Final = 64 * 1024
#: While so much waits to be taken by the agent, nothing is read from it.
STOP_READING_BYTES: Final = 4 * 1024 * 1024
#: While so much waits, what may get lost is not said at all.
CONGESTED_BYTES: Final = 1024 * 1024


class AgentConnection:
    """Connects, reads and writes.

    Args:
        loop: Whose thread does it.
        sockets: Where the agent's socket is.
        name: The socket's name there.
        sink: Is told what happens, on the loop's thread.
        wall_ms: Milliseconds since 1970.
    """

    def __init__(
        self,
        loop: Loop,
        sockets: SocketDirectory,
        name: str,
        sink: Callable[[Event], None],
        wall_ms: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._sockets = sockets
        self._name = name
        self._sink = sink
        self._wall_ms = wall_ms
        self._socket: socket.socket | None = None
        #: What came since the last line end, in the pieces in which it came.
        self._begun: list[bytes] = []
        self._begun_bytes = 0
        #: Lines to be sent at the end of the turn.
        self._lines: list[bytes] = []
        #: What the agent did not take yet.
        self._unsent = memoryview(b"")
        #: Of both.
        self._waiting_bytes = 0
        self._flush_asked = False
        #: Waiting for the agent to take what is unsent.
        self._blocked = False
        #: Writing failed. What the agent said before it went can still be read, and says why.
        self._broken = False

    @property
    def congested(self) -> bool:
        """A lot waits to be taken by the agent."""
        return self._waiting_bytes >= CONGESTED_BYTES

    def connect(self) -> None:
        """Try once; says `Connected` or `ConnectFailed`."""
        assert self._socket is None, "one connection at a time"
        try:
            connection = self._sockets.connect(self._name)
        except OSError as error:
            self._sink(ConnectFailed(now_ms=self._now_ms(), why=f"nobody takes the connection: {error}"))
            return
        self._socket = connection
        self._loop.add_reader(connection.fileno(), self._read)
        self._sink(Connected(now_ms=self._now_ms()))

    def say(self, messages: Sequence[ExecutorMessage]) -> None:
        """Send these at the end of this turn of the loop; dropped where there is no connection any more."""
        if self._socket is None or self._broken:
            return
        for message in messages:
            line = encode(message)
            self._lines.append(line)
            self._waiting_bytes += len(line)
        if not self._flush_asked:
            self._flush_asked = True
            self._loop.call_at_turn_end(self.flush)

    def hang_up(self) -> None:
        """Close the connection without a word, and forget what it was about."""
        if self._socket is None:
            return
        self._loop.remove(self._socket.fileno())
        self._socket.close()
        self._socket = None
        self._begun, self._begun_bytes = [], 0
        self._forget_unsent()
        self._broken = False

    # Reading

    def _read(self) -> None:
        assert self._socket is not None, "it is not read from once it is closed"
        try:
            piece = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(f"the connection to the agent broke: {error}")
            return
        if piece:
            self._take(piece)
        else:
            self._gone("the agent closed the connection")

    def _take(self, piece: bytes) -> None:
        self._begun.append(piece)
        self._begun_bytes += len(piece)
        if b"\n" in piece:
            *lines, rest = b"".join(self._begun).split(b"\n")
            self._begun, self._begun_bytes = [rest], len(rest)
            self._hand_on(lines)
        if self._begun_bytes > MAX_LINE_BYTES:
            self._sink(AgentBabbled(now_ms=self._now_ms(), why=f"a line of more than {MAX_LINE_BYTES} bytes"))

    def _hand_on(self, lines: list[bytes]) -> None:
        try:
            messages = decode_lines(lines)
        except BadLine as error:
            self._sink(AgentBabbled(now_ms=self._now_ms(), why=str(error)))
            return
        self._sink(AgentSpoke(now_ms=self._now_ms(), timestamp_ms=self._wall_ms(), messages=tuple(messages)))

    def _gone(self, why: str) -> None:
        self.hang_up()
        self._sink(Disconnected(now_ms=self._now_ms(), why=why))

    # Writing

    def flush(self) -> None:
        """Send what waits, as far as the agent takes it now."""
        self._flush_asked = False
        if self._socket is None or self._blocked or self._broken:
            return
        self._send(b"".join((self._unsent, *self._lines)))

    def _send(self, data: bytes) -> None:
        assert self._socket is not None, "checked by whoever calls"
        self._lines.clear()
        try:
            sent = self._socket.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._broken = True
            self._forget_unsent()
            return
        self._unsent = memoryview(data)[sent:]
        self._waiting_bytes = len(self._unsent)
        if self._waiting_bytes:
            self._blocked = True
            self._loop.add_writer(self._socket.fileno(), self._go_on)
            if self._waiting_bytes > STOP_READING_BYTES:
                self._loop.remove_reader(self._socket.fileno())

    def _go_on(self) -> None:
        assert self._socket is not None, "it is not written to once it is closed"
        self._blocked = False
        self._loop.remove_writer(self._socket.fileno())
        self.flush()
        if not self._broken and self._waiting_bytes <= STOP_READING_BYTES:
            self._loop.add_reader(self._socket.fileno(), self._read)

    def _forget_unsent(self) -> None:
        self._lines.clear()
        self._unsent, self._waiting_bytes, self._blocked = memoryview(b""), 0, False
        if self._socket is not None:
            self._loop.remove_writer(self._socket.fileno())
            self._loop.add_reader(self._socket.fileno(), self._read)

    def _now_ms(self) -> int:
        return int(self._loop.now_ms())
