"""The block store over HTTP/1.1: on each executor's `blocks.sock`, and on a port of the agent for everybody with a token.

    PUT /blocks/ID          store; 201 with the address for other hosts in Location, 507 where it does not fit
    GET, HEAD /blocks/ID    read; 404 where it is not here (any more); a part with `Range: bytes=a-b` (ranges.py)
    GET /blocks/?parts=     parts of several blocks (several.py)
    DELETE /blocks/ID       remove
    GET /                   {"url": where other hosts reach the store, "token": what proves who asks there}; own socket only
    GET /elsewhere?url=URL  another agent's block by its address, for who does not reach that agent; 502; own socket only

On its own socket an executor is its framework. On the port the framework is proved by `Authorization: Bearer TOKEN` or, in an
address that is handed around as one piece, by `?token=TOKEN`. Errors are text that says what to do.

A connection has a thread while it lasts, of a bounded number; those beyond wait their turn.
"""

import contextlib
import http.server
import json
import socket
import socketserver
import threading
import time
import urllib.parse
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import BinaryIO, Final

from mesolite.errors import BadInput, NotFound, Unavailable
from mesolite.ids import FrameworkId
from mesolite.logs import get_logger

from .ranges import Unsatisfiable, asked_part
from .relay import relayed
from .several import asked_parts
from .store import PIECE_BYTES, BlockStore, StoreFull
from .tokens import BlockTokens

#: Blocks that travel at once: threads mostly wait for the kernel, which copies; more than disks and networks make use of.
MAX_SERVING: Final = 64
#: Of those, for one framework, and for the port: whoever asks slowly leaves the rest to others.
MAX_SERVING_EACH: Final = 32
#: Connections of one that wait for a thread; what comes beyond is closed.
MAX_WAITING_EACH: Final = 256
#: Nothing was heard, or taken, for so long.
IDLE_TIMEOUT_S: Final = 30.0
#: A connection without a further request goes, so that its thread serves others.
KEEP_ALIVE_S: Final = 5.0
#: What is still coming after a refusal is read to its end for so long: whoever sends without looking sees the answer then.
_DRAIN_S: Final = 10.0
_REFUSED_PAUSE_S: Final = 0.5
_BACKLOG: Final = 128
_BLOCKS_PATH: Final = "/blocks/"
_ELSEWHERE_PATH: Final = "/elsewhere"
_MAX_BLOCK_BYTES: Final = 2**62
#: What of another agent's answer is passed on.
_PASSED_ON: Final = ("Content-Type", "Content-Length", "Content-Range")

#: What a handler is made for, in name: ours are handed their connections.
_NO_SERVER: Final = socketserver.BaseServer(("", 0), http.server.BaseHTTPRequestHandler)

_log = get_logger("mesolite.agent")


class BlockServer:
    """Serves one store. `start` before its address is asked for; `close` ends it."""

    def __init__(self, store: BlockStore, tokens: BlockTokens, *, host: str, port: int) -> None:
        """Prepare; the port is taken at `start`.

        Args:
            store: What is served.
            tokens: Who may what on the port.
            host: The address to bind.
            port: The port; 0 takes a free one.
        """
        self.store: Final = store
        self.tokens: Final = tokens
        #: Where other hosts reach the store; set once it is known how they name this one.
        self.url = ""
        self._address: Final = (host, port)
        self._listening: socket.socket | None = None
        self._lock: Final = threading.Lock()
        #: How many connections of each framework have a thread; None stands for the port.
        self._serving: Final[Counter[FrameworkId | None]] = Counter()
        #: And those that wait for one.
        self._waiting: Final[dict[FrameworkId | None, deque[socket.socket]]] = {}
        #: Those that are being served.
        self._open: Final[set[socket.socket]] = set()
        self._closing: Final = threading.Event()
        self._pool: Final = ThreadPoolExecutor(MAX_SERVING, thread_name_prefix="blocks")
        self._thread: Final = threading.Thread(target=self._accept, name="blocks-accept", daemon=True)

    def start(self, former_port: int = 0) -> str:
        """Take the port and serve; returns the address that it is bound to.

        Args:
            former_port: That of the agent's last life, which is taken before any other free one: addresses of blocks go around.

        Raises:
            Unavailable: The address or port cannot be taken.
        """
        host, port = self._address
        try:
            self._listening = _bound(host, port, former_port)
        except OSError as error:
            raise Unavailable(
                f"cannot serve blocks on {host}:{port}: {error.strerror}; choose another blocks_port, or 0 for a free one"
            ) from None
        self._thread.start()
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._listening.getsockname()[1]}"
        return self.url

    def take(self, framework_id: FrameworkId | None, opened: socket.socket) -> None:
        """Serve a connection of a framework, or of somebody who will prove whose he is. Returns at once."""
        with self._lock:
            waiting = self._waiting.setdefault(framework_id, deque())
            if self._closing.is_set() or len(waiting) >= MAX_WAITING_EACH:
                opened.close()
                return
            waiting.append(opened)
            if self._serving[framework_id] < MAX_SERVING_EACH:
                self._serving[framework_id] += 1
                self._pool.submit(self._serve, framework_id)

    def close(self) -> None:
        """Stop serving; what is under way is cut."""
        with self._lock:
            self._closing.set()
            for waiting in self._waiting.values():
                for opened in waiting:
                    opened.close()
                waiting.clear()
        if self._listening is not None:
            # Closing alone would not wake the thread that waits for connections.
            with contextlib.suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._listening.close()
        with self._lock:
            for opened in self._open:
                with contextlib.suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _accept(self) -> None:
        assert self._listening is not None, "it was opened by start"
        while not self._closing.is_set():
            try:
                opened, _ = self._listening.accept()
            except OSError as error:
                if self._closing.is_set():
                    return
                _log.warning("agent.blocks_not_accepted", error=str(error))
                # Out of descriptors, for one: those who are served give theirs back.
                self._closing.wait(_REFUSED_PAUSE_S)
                continue
            self.take(None, opened)

    def _serve(self, framework_id: FrameworkId | None) -> None:
        """Serve the connections of one, until none of them waits."""
        while (opened := self._next(framework_id)) is not None:
            try:
                # Whoever breaks a connection sees that; it is nobody's fault here.
                with opened, contextlib.suppress(OSError):
                    _Handler(opened, framework_id, self)
            finally:
                with self._lock:
                    self._open.discard(opened)

    def _next(self, framework_id: FrameworkId | None) -> socket.socket | None:
        with self._lock:
            waiting = self._waiting.get(framework_id)
            if waiting:
                opened = waiting.popleft()
                self._open.add(opened)
                return opened
            self._serving[framework_id] -= 1
            if not self._serving[framework_id]:
                del self._serving[framework_id]
                self._waiting.pop(framework_id, None)
            return None


def _bound(host: str, port: int, former_port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not port and former_port:
        with contextlib.suppress(OSError):
            return socket.create_server((host, former_port), family=family, backlog=_BACKLOG)
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    #: What is no request of any version is answered with a head all the same.
    default_request_version = "HTTP/1.0"
    server_version = "mesolite"
    sys_version = ""
    error_message_format = "%(message)s\n"
    error_content_type = "text/plain; charset=utf-8"
    #: The answer's head is sent in one piece.
    wbufsize = -1
    timeout = IDLE_TIMEOUT_S

    def __init__(self, opened: socket.socket, framework_id: FrameworkId | None, blocks: BlockServer) -> None:
        self._own: Final = framework_id
        self._blocks: Final = blocks
        #: Of the request's body, not read yet.
        self._unread = 0
        #: A request was answered on this connection.
        self._answered = False
        if opened.family != socket.AF_UNIX:
            # A small block would wait for the acknowledgement of the head before it.
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The base class serves the connection to its end in its constructor. Of its server it asks nothing.
        super().__init__(opened, ("", 0), _NO_SERVER)

    # -- what can be asked --------------------------------------------------------------------------------------------

    def do_GET(self) -> None:
        """Read a block, here or elsewhere, or learn how others reach this store."""
        if self._own is not None and self.path == "/":
            self._answer_json({"url": self._blocks.url, "token": self._blocks.tokens.token(self._own)})
        elif self._own is not None and self.path.startswith(f"{_ELSEWHERE_PATH}?"):
            self._relay(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("url", [""])[0])
        elif self.path.startswith(f"{_BLOCKS_PATH}?"):
            self._within(self._send_parts)
        else:
            self._within(self._send_block)

    def do_HEAD(self) -> None:
        """Tell whether a block is here, and its size."""
        self._within(self._send_block)

    def do_PUT(self) -> None:
        """Store a block."""
        self._within(self._take_block)

    def do_DELETE(self) -> None:
        """Remove a block."""
        self._within(self._delete_block)

    def handle_expect_100(self) -> bool:
        """Let the body come when the block is known to fit, which is told by the first read of it."""
        return True

    def _send_block(self, framework_id: FrameworkId, block_id: str) -> None:
        file, size_bytes = self._blocks.store.open(framework_id, block_id)
        with file:
            try:
                part = self._part(size_bytes)
            except Unsatisfiable as error:
                headers = {"Content-Range": f"bytes */{size_bytes}"}
                self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, str(error), headers)
                return
            count = size_bytes if part is None else len(part)
            self.send_response(HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(count))
            if part is not None:
                self.send_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{size_bytes}")
            self.end_headers()
            self.wfile.flush()
            if self.command != "HEAD" and count:
                sent = self.connection.sendfile(file, part.start if part is not None else 0, count)
                # Somebody has cut the file short: the head has promised more than there is.
                self.close_connection = self.close_connection or sent < count

    def _send_parts(self, framework_id: FrameworkId, no_block: str) -> None:
        wanted = asked_parts(urllib.parse.urlsplit(self.path).query)
        with contextlib.ExitStack() as opened:
            files: list[tuple[BinaryIO, range]] = []
            for block_id, part in wanted:
                file, size_bytes = self._blocks.store.open(framework_id, block_id)
                files.append((opened.enter_context(file), part))
                if part.stop > size_bytes:
                    raise NotFound(f"block {block_id!r} has {size_bytes} bytes: there are none up to {part.stop - 1}")
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(sum(len(part) for _, part in files)))
            self.end_headers()
            self.wfile.flush()
            for file, part in files:
                if self.connection.sendfile(file, part.start, len(part)) < len(part):
                    # As for one block.
                    self.close_connection = True
                    return

    def _part(self, size_bytes: int) -> range | None:
        """Which bytes are to be sent; None: all.

        A range means something to GET alone, and nothing where it depends on a mark that blocks do not have (RFC 9110, 14.2
        and 13.1.5).
        """
        if self.command != "GET" or "if-range" in self.headers:
            return None
        return asked_part(self.headers.get_all("range", []), size_bytes)

    def _relay(self, url: str) -> None:
        begun = False
        try:
            with relayed(url, self.headers.get("range")) as answer:
                begun = True
                self.send_response(answer.status)
                for name in _PASSED_ON:
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.end_headers()
                while piece := answer.read(PIECE_BYTES):
                    self.wfile.write(piece)
                self.wfile.flush()
        except BadInput as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except Unavailable as error:
            if begun:
                # The head has promised more: that it does not come is all that can be said now.
                self.close_connection = True
            else:
                self._refuse(HTTPStatus.BAD_GATEWAY, str(error))

    def _take_block(self, framework_id: FrameworkId, block_id: str) -> None:
        if "transfer-encoding" in self.headers:
            self.close_connection = True
            raise BadInput("give Content-Length; chunks are not taken")
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()) or int(length) > _MAX_BLOCK_BYTES:
            self.close_connection = True
            raise BadInput(f"Content-Length is {length[:32]!r}; give the number of bytes that follow")
        self._unread = int(length)
        self._blocks.store.put(framework_id, block_id, self._unread, self._read_body)
        self._answer(HTTPStatus.CREATED, "", {"Location": self._address(framework_id, block_id)})

    def _delete_block(self, framework_id: FrameworkId, block_id: str) -> None:
        self._blocks.store.delete(framework_id, block_id)
        self._answer(HTTPStatus.NO_CONTENT)

    # -- how it is answered -------------------------------------------------------------------------------------------

    def _within(self, action: Callable[[FrameworkId, str], None]) -> None:
        """Do what was asked in the name of whoever asks, and turn what goes wrong into an answer."""
        # A body that nobody asked for would be taken for the next request.
        self.close_connection = self.close_connection or (self.command != "PUT" and self._has_body)
        try:
            parts = urllib.parse.urlsplit(self.path)
            if not parts.path.startswith(_BLOCKS_PATH):
                raise NotFound(f"there is no {parts.path[:64]!r}; there is {_BLOCKS_PATH}ID")
            framework_id = self._own or self._blocks.tokens.framework(self._token(parts.query))
            if framework_id is None:
                self._refuse(HTTPStatus.UNAUTHORIZED, "give the token that an executor of the framework was told")
                return
            action(framework_id, parts.path.removeprefix(_BLOCKS_PATH))
        except NotFound as error:
            self._refuse(HTTPStatus.NOT_FOUND, str(error))
        except (BadInput, ValueError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except StoreFull as error:
            self._refuse(HTTPStatus.INSUFFICIENT_STORAGE, str(error))

    def _token(self, query: str) -> str:
        bearer = self.headers.get("authorization", "")
        if bearer.startswith("Bearer "):
            return bearer.removeprefix("Bearer ").strip()
        return urllib.parse.parse_qs(query).get("token", [""])[0]

    def _address(self, framework_id: FrameworkId, block_id: str) -> str:
        return f"{self._blocks.url}{_BLOCKS_PATH}{block_id}?token={self._blocks.tokens.token(framework_id)}"

    def _answer(self, status: HTTPStatus, text: str = "", headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _answer_json(self, value: dict[str, str]) -> None:
        body = json.dumps(value).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer with what is wrong; whatever body there is makes this the connection's last answer."""
        self.close_connection = self.close_connection or self._has_body
        self._answer(status, text)
        if self._has_body:
            self._drain()

    @property
    def _has_body(self) -> bool:
        return self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers

    def _drain(self) -> None:
        """Read what comes, and forget it, until the other side has looked, or for long enough."""
        until_s = time.monotonic() + _DRAIN_S
        self.connection.shutdown(socket.SHUT_WR)
        while time.monotonic() < until_s and self.rfile.read1(PIECE_BYTES):
            pass

    def _read_body(self, limit: int) -> bytes:
        if self.headers.get("expect", "").lower() == "100-continue" and self._unread == int(
            self.headers["content-length"]
        ):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        piece = self.rfile.read1(min(limit, self._unread))
        self._unread -= len(piece)
        return piece

    # -- what the base class asks -------------------------------------------------------------------------------------

    def handle_one_request(self) -> None:
        """Wait for a request, less long than for the rest of it."""
        self.connection.settimeout(KEEP_ALIVE_S if self._answered else IDLE_TIMEOUT_S)
        self._answered = True
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Read the head; from now on the body's patience holds."""
        self.connection.settimeout(IDLE_TIMEOUT_S)
        return super().parse_request()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: whoever asks is told."""
