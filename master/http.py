"""The master's HTTP face: read-only views for people, Flower's neighbours and the CLI, and two operator actions.

Views and actions are callables given by the shell; this module knows the protocol, not the cluster. A view that returns a
list is cut into pages: GET /tasks gives {"tasks": [...], "total": n, "offset": 0, "limit": 100} (Mesos's limit and offset,
reference 3.4). A view is called from the HTTP thread and must answer from a snapshot.

    GET  /VIEW?limit=&offset=&...    200 | 400 | 404 | 503
    POST /ACTION  {"...": "..."}     202 | 400 | 404 | 415 | 503
    any, where another master leads  307 to the same path there; 503 where no leader is known
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias, cast

import msgspec

from mesolite.errors import BadInput
from mesolite.webserver import JsonHandler, Route, WebServer

#: Rows of a page where none are asked for, and at most. Mesos's /tasks has the same default.
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 10_000
MAX_OFFSET: Final = 10_000_000

#: Answered by every master, leading or not.
LOCAL_VIEWS: Final = frozenset({"cluster", "health", "metrics"})

#: Takes the query's arguments (the last of each). Raises BadInput, NotFound or Unavailable.
View: TypeAlias = Callable[[Mapping[str, str]], object]
#: Takes the body's fields, returns what to answer. Raises like a view.
Action: TypeAlias = Callable[[Mapping[str, str]], object]
#: The URL of the master that leads, None where it is this one. Raises MasterUnavailable where it is not known.
Leader: TypeAlias = Callable[[], str | None]


class MasterHttp:
    """Serves the operator API."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        views: Mapping[str, View],
        actions: Mapping[str, Action],
        leader: Leader = lambda: None,
    ) -> None:
        """Prepare; the port is taken at `start`.

        Args:
            host: The address to bind.
            port: The port; 0 takes a free one.
            views: By path: "state" is served at /state.
            actions: By path: "kill" is served at /kill.
            leader: Says whether to answer or to send elsewhere.
        """
        routes: list[Route] = []
        for name, view in views.items():
            routes.append((f"/{name}", _ViewHandler, {"name": name, "view": view, "leader": leader}))
        for name, action in actions.items():
            routes.append((f"/{name}", _ActionHandler, {"action": action, "leader": leader}))
        known = sorted(f"/{name}" for name in (*views, *actions))
        self._server = WebServer(routes, host=host, port=port, name="master-http", known_paths=known)

    def start(self) -> None:
        """Take the port and serve.

        Raises:
            Unavailable: The port cannot be taken.
        """
        self._server.start()

    @property
    def url(self) -> str:
        """Where it is served; after `start`."""
        return self._server.url

    def close(self) -> None:
        """Stop serving."""
        self._server.close()


class _ViewHandler(JsonHandler):
    """One view."""

    def initialize(self, name: str, view: View, leader: Leader) -> None:
        self._name = name
        self._view = view
        self._leader = leader

    def get(self) -> None:
        if self._name not in LOCAL_VIEWS and (elsewhere := self._leader()) is not None:
            _redirect(self, elsewhere)
            return
        query = {name: values[-1].decode("utf-8", "replace") for name, values in self.request.query_arguments.items()}
        value = self._view(query)
        if isinstance(value, (list, tuple)):
            value = self._page(cast("Sequence[object]", value))
        self.send_json(value)

    def _page(self, rows: Sequence[object]) -> dict[str, object]:
        limit = self.integer("limit", DEFAULT_LIMIT, least=0, most=MAX_LIMIT)
        offset = self.integer("offset", 0, least=0, most=MAX_OFFSET)
        return {self._name: rows[offset : offset + limit], "total": len(rows), "offset": offset, "limit": limit}


class _ActionHandler(JsonHandler):
    """One operator action."""

    def initialize(self, action: Action, leader: Leader) -> None:
        self._action = action
        self._leader = leader

    def post(self) -> None:
        # A page on any site may post a form to loopback; JSON it may not post without asking first, which we never grant.
        if self.request.headers.get("Content-Type", "").split(";")[0].strip() != "application/json":
            self.send_error_json(415, "send the fields as JSON, with Content-Type: application/json")
            return
        try:
            fields = msgspec.json.decode(self.request.body, type=dict[str, str])
        except msgspec.DecodeError as error:
            raise BadInput(f"the body is not a JSON object of texts: {error}") from None
        if (elsewhere := self._leader()) is not None:
            _redirect(self, elsewhere)
            return
        answer = self._action(fields)
        self.set_status(202)
        self.send_json({} if answer is None else answer)


def _redirect(handler: JsonHandler, elsewhere: str) -> None:
    """Send the client to the leading master; 307 keeps method and body."""
    handler.redirect(elsewhere.rstrip("/") + (handler.request.uri or "/"), status=307)
