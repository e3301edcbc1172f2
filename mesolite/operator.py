"""Speaks to a master's operator API and to agents' file servers over HTTP: for the CLI, demos and tests.

Only the standard library: `mesolite ps` should answer before a heavier client is imported. Follows the redirect of a
standby to the leader.
"""

import http.client
import json
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

import msgspec

from mesolite.errors import BadInput, MasterUnavailable, NotFound, ProtocolError, Unavailable
from mesolite.views import AgentRow, DeadLetterRow, Explanation, FrameworkRow, OfferRow, TaskRow

#: A master or agent that does not answer for so long counts as gone; added to the wait that a read asks for.
REQUEST_TIMEOUT_S: Final = 10.0
#: Rows asked for at once.
PAGE_ROWS: Final = 1000
#: Leader changes that one request follows.
MAX_REDIRECTS: Final = 3
#: A larger answer is not a page of rows.
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024

RowT = TypeVar("RowT")
Query = Mapping[str, str | int]


class OperatorClient:
    """The operator API of one cluster. Each call is one connection; may be used from several threads."""

    def __init__(self, master_url: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self.master_url: Final = master_url.rstrip("/")
        self._timeout_s = timeout_s

    def tasks(
        self, *, include_ended: bool = False, task_id: str | None = None, framework_id: str | None = None
    ) -> list[TaskRow]:
        """Return tasks, newest first; those with an id or of a framework where given.

        Raises:
            MasterUnavailable: No master answers. So do all methods here.
        """
        query: dict[str, str | int] = {"all": int(include_ended)}
        if task_id is not None:
            query["task_id"] = task_id
        if framework_id is not None:
            query["framework_id"] = framework_id
        return self._rows("tasks", TaskRow, query)

    def agents(self) -> list[AgentRow]:
        """Return the agents, those that are not reachable included."""
        return self._rows("agents", AgentRow, {})

    def offers(self) -> list[OfferRow]:
        """Return outstanding offers."""
        return self._rows("offers", OfferRow, {})

    def frameworks(self, *, include_ended: bool = False) -> list[FrameworkRow]:
        """Return the frameworks."""
        return self._rows("frameworks", FrameworkRow, {"all": int(include_ended)})

    def dead_letters(self) -> list[DeadLetterRow]:
        """Return the newest messages that were refused."""
        return self._rows("dead_letters", DeadLetterRow, {}, page_limit=1)

    def explain(self, framework_id: str) -> Explanation:
        """Return why a framework's tasks do not start.

        Raises:
            NotFound: The master does not know the framework.
        """
        return _decoded(self._get("explain", {"framework_id": framework_id}), Explanation)

    def state(self) -> dict[str, Any]:
        """Return the master's whole view."""
        return cast("dict[str, Any]", json.loads(self._get("state", {})))

    def is_healthy(self) -> bool:
        """Say whether a master answers that leads or follows."""
        try:
            self._get("health", {})
        except Unavailable:
            return False
        return True

    def kill(self, framework_id: str, task_id: str) -> None:
        """Ask for a task to be killed; its terminal state follows later.

        Raises:
            NotFound: The master does not know the task.
        """
        self._post("kill", {"framework_id": framework_id, "task_id": task_id})

    def teardown(self, framework_id: str) -> None:
        """End a framework: kill its tasks and make its id unusable.

        Raises:
            NotFound: The master does not know the framework.
        """
        self._post("teardown", {"framework_id": framework_id})

    def _rows(self, view: str, row: type[RowT], query: Query, *, page_limit: int | None = None) -> list[RowT]:
        rows: list[RowT] = []
        pages = 0
        while True:
            page = _decoded(
                self._get(view, {**query, "limit": PAGE_ROWS, "offset": len(rows)}),
                dict[str, list[row] | int],  # type: ignore[valid-type]
            )
            new = page.get(view)
            if not isinstance(new, list):
                raise ProtocolError(
                    f"{self.master_url}/{view} answers without {view!r}; run the same version on both sides"
                )
            rows.extend(new)
            pages += 1
            if len(new) < PAGE_ROWS or pages == page_limit:
                return rows

    def _get(self, path: str, query: Query) -> bytes:
        return _request("GET", f"{self.master_url}/{path}?{_encoded(query)}", None, self._timeout_s, MasterUnavailable)

    def _post(self, path: str, fields: Mapping[str, str]) -> None:
        body = json.dumps(fields).encode()
        _request("POST", f"{self.master_url}/{path}", body, self._timeout_s, MasterUnavailable)


def read_sandbox(agent_url: str, path: str, *, offset: int, wait_ms: int = 0) -> bytes:
    """Return the bytes of a sandbox file from an offset on: what one read gives, empty at the end.

    Args:
        agent_url: The agent's file server.
        path: The file, as the agent names it.
        offset: Where to begin.
        wait_ms: How long to wait for bytes where there are none yet.

    Raises:
        NotFound: There is no such file, or not yet.
        Unavailable: The agent does not answer.
    """
    query: Query = {"path": path, "offset": offset, "wait_ms": wait_ms, "raw": 1}
    url = f"{agent_url.rstrip('/')}/files/read?{_encoded(query)}"
    return _request("GET", url, None, wait_ms / 1000 + REQUEST_TIMEOUT_S, Unavailable)


def follow_sandbox(agent_url: str, path: str, ended: Callable[[], bool], *, wait_ms: int = 2000) -> Iterator[bytes]:
    """Yield a file's bytes as they are written, until its task ended and all of it was read.

    Args:
        agent_url: The agent's file server.
        path: The file.
        ended: Says whether the task is over; asked only when there is nothing new.
        wait_ms: How long one read waits.
    """
    offset = 0
    over = False
    while True:
        try:
            data = read_sandbox(agent_url, path, offset=offset, wait_ms=0 if over else wait_ms)
        except NotFound:
            if over:
                return
            data = b""
        if data:
            offset += len(data)
            yield data
        elif over:
            return
        else:
            # Asked before the last read, so that what was written until then is not lost.
            over = ended()


def _decoded(body: bytes, kind: type[RowT]) -> RowT:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ProtocolError(
            f"the master's answer cannot be read ({error}); run the same version on both sides"
        ) from None


def _encoded(query: Query) -> str:
    return urllib.parse.urlencode(query)


def _request(method: str, url: str, body: bytes | None, timeout_s: float, away: type[Unavailable]) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        status, headers, answer = _exchange(method, url, body, timeout_s, away)
        match status:
            case 200 | 202:
                return answer
            case 307:
                url = headers.get("Location", "")
            case 404:
                raise NotFound(_message(answer, url))
            case 400 | 415:
                raise BadInput(_message(answer, url))
            case _:
                raise away(f"{url} answers {status}: {_message(answer, url)}")
    raise away(f"{url} sends from one master to the next; try again in a moment")


def _exchange(
    method: str, url: str, body: bytes | None, timeout_s: float, away: type[Unavailable]
) -> tuple[int, Mapping[str, str], bytes]:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise BadInput(f"{url!r} is not the URL of a master or agent; it looks like http://127.0.0.1:5050")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, body, {"Content-Type": "application/json"} if body is not None else {})
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        where = f"{parts.hostname}:{parts.port or 80}"
        raise away(
            f"{where} does not answer ({error}); see `mesolite up`, or the logs beside its cluster.json"
        ) from None
    finally:
        connection.close()


def _message(answer: bytes, url: str) -> str:
    try:
        return str(msgspec.json.decode(answer, type=dict[str, str])["error"])
    except (msgspec.DecodeError, KeyError):
        return f"{url} gives no reason"
