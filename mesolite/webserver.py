"""An HTTP server in a thread of its own, and JSON handlers that explain what is wrong: under both HTTP faces.

The thread runs its own event loop, so that nothing a browser does holds up the process's work. What a handler returns is
read from snapshots; a handler never changes anything itself. Bound to loopback unless told otherwise: there are no
passwords here (docs/operating.md).
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import tornado.httpserver
import tornado.web

from mesolite.errors import BadInput, MesoliteError, NotFound, Unavailable

#: Requests carry a few ids; more is not for us.
MAX_BODY_BYTES: Final = 64 * 1024
MAX_HEADER_BYTES: Final = 16 * 1024
#: A connection without a request is closed after this long.
IDLE_TIMEOUT_S: Final = 120.0
#: Hosts to bind that name no machine.
EVERY_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})
#: Connections that the kernel holds until they are accepted; tornado's own choice.
BACKLOG: Final = 128
#: How long `close` waits for the thread.
CLOSE_TIMEOUT_S: Final = 5.0

#: Pattern, handler class, keyword arguments of its `initialize`.
Route: TypeAlias = tuple[str, type[tornado.web.RequestHandler], dict[str, Any]]


class JsonHandler(tornado.web.RequestHandler):
    """Answers in JSON, errors included: {"error": "what is wrong and what to do"}."""

    def set_default_headers(self) -> None:
        """Say what comes, and that it is of this moment only."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.clear_header("Server")

    def send_json(self, value: object) -> None:
        """Answer with a value; structs, dataclasses, enums, bytes and paths are understood."""
        self.write(msgspec.json.encode(value, enc_hook=str))

    def send_error_json(self, status: int, message: str) -> None:
        """Answer with an error."""
        self.set_status(status)
        self.send_json({"error": message})

    def integer(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return a query argument as an integer.

        Raises:
            BadInput: It is not one, or out of range.
        """
        text = self.get_query_argument(name, None)
        if text is None or not text:
            return default
        try:
            value = int(text)
        except ValueError:
            raise BadInput(f"{name} is {text!r}; give a whole number") from None
        if not least <= value <= most:
            raise BadInput(f"{name} is {value}; allowed are {least} to {most}")
        return value

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Log only what is our fault; the rest is told to whoever asked."""
        if not isinstance(value, MesoliteError):
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Turn whatever was raised into a JSON error (called by tornado)."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        match error:
            case NotFound():
                self.send_error_json(404, str(error))
            case BadInput():
                self.send_error_json(400, str(error))
            case Unavailable():
                self.set_header("Retry-After", "1")
                self.send_error_json(503, str(error))
            case tornado.web.HTTPError():
                self.send_error_json(status_code, error.log_message or error.reason or self._reason)
            case None:
                self.send_error_json(status_code, self._reason)
            case _:
                self.send_error_json(500, f"internal error: {type(error).__name__}; see this process's log")
        self.finish()


class UnknownPath(JsonHandler):
    """Anything without a route."""

    def initialize(self, known: Sequence[str]) -> None:
        """Remember what there is."""
        self._known = known

    def prepare(self) -> None:
        """Refuse, whatever the method."""
        raise NotFound(f"there is no {self.request.path}; there are {', '.join(self._known)}")


class WebServer:
    """Serves routes on one port. `start` before use; `close` ends it."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        host: str,
        port: int,
        name: str,
        known_paths: Sequence[str],
        hostname: str | None = None,
    ) -> None:
        """Prepare; the port is taken at `start`.

        Args:
            routes: What is served.
            host: The address to bind.
            port: The port; 0 takes a free one.
            name: Names the thread.
            known_paths: What an unknown path is answered with.
            hostname: What others reach this machine by, for `url` where every address is bound; the machine's where absent.
        """
        self._routes = routes
        self._host = host
        self._port = port
        self._known_paths = known_paths
        self._hostname = hostname
        self._loop = asyncio.new_event_loop()
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Take the port and serve.

        Raises:
            Unavailable: The address or port cannot be taken.
        """
        try:
            self._sockets = [_bound(self._host, self._port)]
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {self._host}:{self._port}: {error.strerror}; choose another port, or 0 for a free one"
            ) from None
        self._thread.start()

    @property
    def url(self) -> str:
        """Where others reach it; after `start`."""
        assert self._sockets, "the port is known after start"
        host = (self._hostname or socket.gethostname()) if self._host in EVERY_ADDRESS else self._host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self._sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Stop serving; requests under way are cut."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_TIMEOUT_S)
        elif not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._listen()
        try:
            self._loop.run_forever()
        finally:
            server.stop()
            self._loop.run_until_complete(server.close_all_connections())
            pending = asyncio.all_tasks(self._loop)
            for task in pending:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            self._loop.close()

    def _listen(self) -> tornado.httpserver.HTTPServer:
        unknown: Route = (r".*", UnknownPath, {"known": self._known_paths})
        application = tornado.web.Application(
            [*self._routes, unknown], compress_response=True, log_function=_log_nothing
        )
        server = tornado.httpserver.HTTPServer(
            application,
            max_body_size=MAX_BODY_BYTES,
            max_buffer_size=2 * MAX_BODY_BYTES,
            max_header_size=MAX_HEADER_BYTES,
            idle_connection_timeout=IDLE_TIMEOUT_S,
        )
        server.add_sockets(self._sockets)
        return server


def _bound(host: str, port: int) -> socket.socket:
    """Return a listening socket. Not tornado's bind_sockets, which forgets to close the socket that it could not bind."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listening.setblocking(False)
    return listening


#: Requests are not logged: pages poll, and errors are told to whoever asked.
_log_nothing: Callable[[tornado.web.RequestHandler], None] = lambda _handler: None  # noqa: E731
