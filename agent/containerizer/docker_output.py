"""Carrying containers' output from the engine to the sandbox.

Output comes in frames: a byte for the stream, three of padding, a big-endian length, the bytes (Docker Engine API,
"Attach to a container", stream format). Live containers are attached to before they start; one thread reads all their
connections (`OutputPump`). A container adopted after the agent's restart is followed in the engine's log instead, from
the byte where the sandbox's files end (`LogFollower`).

An attached connection that nobody reads fills up, at about a megabyte, and then holds up whoever writes: a stopped agent
slows down chatty containers, a dead one, whose connections are closed, does not.

How exact that seam is. The log holds lines: what a program wrote without a newline appears when the newline comes, and
bytes that are not UTF-8 come back as U+FFFD. Within the engine's log limit the seam is found by counting and checked
against what the file ends with; where the log has been rotated past it, or the bytes differ, it is found by time.
"""

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesolite.errors import MesoliteError

from .docker_engine import AttachedStream, DockerEngine, LogStream
from .output import OutputFile
from .policy import User

_HEADER_BYTES: Final = 8
_RECEIVE_BYTES: Final = 256 * 1024
#: So much before the seam must agree before counting is trusted.
_SEAM_CHECK_BYTES: Final = 4096

STDOUT: Final = 1
STDERR: Final = 2


class FrameParser:
    """Cuts a byte stream into (stream number, bytes); frames may arrive in any pieces."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._stream = 0
        self._remaining = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Payload that `data` completes or continues; a long frame comes out in parts."""
        position = 0
        while position < len(data):
            if self._remaining == 0:
                wanted = _HEADER_BYTES - len(self._header)
                self._header += data[position : position + wanted]
                position += wanted
                if len(self._header) == _HEADER_BYTES:
                    self._stream = self._header[0]
                    self._remaining = int.from_bytes(self._header[4:], "big")
                    self._header.clear()
                continue
            part = data[position : position + self._remaining]
            position += len(part)
            self._remaining -= len(part)
            yield self._stream, part


@dataclass(slots=True)
class OutputFiles:
    """The two files of one container."""

    stdout: OutputFile
    stderr: OutputFile

    def append(self, stream: int, data: bytes) -> None:
        """Add to the file of a stream."""
        (self.stderr if stream == STDERR else self.stdout).append(data)

    @property
    def lost_bytes(self) -> int:
        """What a full disk cost, of both."""
        return self.stdout.lost_bytes + self.stderr.lost_bytes

    def close(self) -> None:
        """Let go of both."""
        self.stdout.close()
        self.stderr.close()


@dataclass(slots=True)
class _Pumped:
    stream: AttachedStream
    files: OutputFiles
    on_end: Callable[[], None]
    parser: FrameParser


class OutputPump:
    """One thread that reads the output of all live containers."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._new: list[_Pumped] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="docker-output", daemon=True)
        self._thread.start()

    def add(self, stream: AttachedStream, files: OutputFiles, on_end: Callable[[], None]) -> None:
        """Carry a container's output; `on_end` is called in the pump's thread once it is all on disk."""
        with self._lock:
            self._new.append(_Pumped(stream, files, on_end, FrameParser()))
        self._wake()

    def close(self) -> None:
        """Stop reading; the containers go on. Nothing more is reported."""
        with self._lock:
            self._closing = True
        self._wake()
        self._thread.join()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_writer.send(b"\0")

    def _run(self) -> None:
        while self._take_new():
            for key, _ in self._selector.select():
                if isinstance(key.data, _Pumped):
                    self._read(key.data)
                else:
                    self._wake_reader.recv(4096)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Pumped):
                key.data.stream.close()
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def _take_new(self) -> bool:
        with self._lock:
            new, self._new = self._new, []
            closing = self._closing
        for pumped in new:
            if closing:
                pumped.stream.close()
            else:
                self._selector.register(pumped.stream.socket, selectors.EVENT_READ, pumped)
        return not closing

    def _read(self, pumped: _Pumped) -> None:
        try:
            data = pumped.stream.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            for stream, part in pumped.parser.feed(data):
                pumped.files.append(stream, part)
            return
        self._selector.unregister(pumped.stream.socket)
        pumped.stream.close()
        pumped.on_end()


class LogFollower:
    """Goes on with an adopted container's output from where its files end, until the container ends.

    Each stream has a connection and a thread of its own: adopted containers are few and get fewer.
    """

    def __init__(self, engine: DockerEngine, engine_id: str, files: OutputFiles, on_end: Callable[[], None]) -> None:
        """Begin; `on_end` is called from some thread once both streams are all on disk, or cannot be had."""
        self._engine = engine
        self._engine_id = engine_id
        self._on_end = on_end
        self._lock = threading.Lock()
        self._open: list[LogStream] = []
        self._running = 2
        self._closing = False
        pairs = (("stdout", files.stdout), ("stderr", files.stderr))
        self._threads = [
            threading.Thread(target=self._run, args=pair, name=f"docker-log-{pair[0]}", daemon=True) for pair in pairs
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop following; `on_end` is not called after that."""
        with self._lock:
            self._closing = True
            streams = list(self._open)
        for stream in streams:
            stream.close()
        for thread in self._threads:
            thread.join()

    def _run(self, stream: str, file: OutputFile) -> None:
        with contextlib.suppress(MesoliteError):
            self._follow(stream, file)
        with self._lock:
            self._running -= 1
            ended = self._running == 0 and not self._closing
        if ended:
            self._on_end()

    def _follow(self, stream: str, file: OutputFile) -> None:
        skip, since_s = file.written_bytes, None
        if skip and not self._agrees(stream, file):
            skip, since_s = 0, file.modified_ns / 1e9
        for part in self._payload(stream, follow=True, since_s=since_s):
            if skip >= len(part):
                skip -= len(part)
                continue
            file.append(part[skip:])
            skip = 0

    def _agrees(self, stream: str, file: OutputFile) -> bool:
        """Whether the engine's log, cut where our file ends, ends as our file does."""
        wanted = file.written_bytes
        seen = 0
        tail = b""
        for part in self._payload(stream, follow=False, since_s=None):
            tail = (tail + part[: wanted - seen])[-_SEAM_CHECK_BYTES:]
            seen += len(part)
            if seen >= wanted:
                break
        # An unfinished last line is not in the log yet: what the file has beyond the log must then be such a line.
        missing = max(0, wanted - seen)
        mine = file.tail(len(tail) + missing)
        unfinished = mine[len(mine) - missing :] if missing else b""
        return b"\n" not in unfinished and tail.endswith(mine[: len(mine) - missing])

    def _payload(self, stream: str, *, follow: bool, since_s: float | None) -> Iterator[bytes]:
        log = self._engine.open_log(self._engine_id, stream=stream, follow=follow, since_s=since_s)
        with self._lock:
            if self._closing:
                log.close()
                return
            self._open.append(log)
        parser = FrameParser()
        try:
            for data in log:
                for _, part in parser.feed(data):
                    yield part
        finally:
            with self._lock:
                self._open.remove(log)
            log.close()


def open_files(sandbox: Path, user: User, max_bytes: int, records: Path) -> OutputFiles:
    """Open both files of a container."""
    stdout = OutputFile(sandbox, "stdout", user=user, max_bytes=max_bytes, records=records)
    stderr = OutputFile(sandbox, "stderr", user=user, max_bytes=max_bytes, records=records)
    return OutputFiles(stdout, stderr)
