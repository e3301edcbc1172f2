"""Speaks to the masters' operator API over HTTP: for the CLI, demos and tests. Finds the master that leads (masters.py)."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

import msgspec

from mesolite.errors import ProtocolError, Unavailable
from mesolite.http_client import REQUEST_TIMEOUT_S, Query, with_query
from mesolite.masters import Masters
from mesolite.views import AgentRow, ClusterRow, DeadLetterRow, Explanation, FrameworkRow, HealthRow, OfferRow, TaskRow

#: Rows asked for at once.
PAGE_ROWS: Final = 1000

RowT = TypeVar("RowT")


class OperatorClient:
    """The operator API of one cluster. Each call is one connection; may be used from several threads."""

    def __init__(
        self,
        master_url: str,
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
        patience_s: float = 0.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare; nobody is asked yet.

        Args:
            master_url: "http://127.0.0.1:5050"; several masters with commas between them.
            timeout_s: How long an answer may take.
            patience_s: How long a leading master may be missing, once the cluster is known to be there.
            on_wait: Told once why there is a wait, when there is one.

        Raises:
            BadInput: No URL is given.
        """
        self._masters = Masters(
            [url.strip() for url in master_url.split(",") if url.strip()],
            timeout_s=timeout_s,
            patience_s=patience_s,
            on_wait=on_wait,
        )

    @property
    def master_url(self) -> str:
        """The masters that were given, with commas between them."""
        return ",".join(self._masters.urls)

    def tasks(
        self,
        *,
        include_ended: bool = False,
        task_id: str | None = None,
        framework_id: str | None = None,
        executor_id: str | None = None,
    ) -> list[TaskRow]:
        """Return tasks, newest first; those with an id, of a framework or under an executor where given.

        Raises:
            MasterUnavailable: No master answers. So do all methods here.
        """
        query: dict[str, str | int] = {"all": int(include_ended)}
        if task_id is not None:
            query["task_id"] = task_id
        if framework_id is not None:
            query["framework_id"] = framework_id
        if executor_id is not None:
            query["executor_id"] = executor_id
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

    def cluster(self) -> ClusterRow:
        """Return what a client needs to know of the cluster.

        Raises:
            NotFound: The master is of a version that does not tell.
        """
        return _decoded(self._get("cluster", {}), ClusterRow)

    def health(self) -> HealthRow:
        """Return a master's word about itself; of several, the first one's that answers."""
        return _decoded(self._get("health", {}), HealthRow)

    def state(self) -> dict[str, Any]:
        """Return the master's whole view."""
        return cast("dict[str, Any]", json.loads(self._get("state", {})))

    def is_healthy(self) -> bool:
        """Say whether a master answers that leads or follows."""
        try:
            return self.health().healthy
        except Unavailable:
            return False

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

    def mark_gone(self, agent_id: str) -> None:
        """Give up an agent for good: its tasks end as GONE_BY_OPERATOR, and its id is never taken again.

        Raises:
            NotFound: The master never heard of the agent.
        """
        self._post("mark_gone", {"agent_id": agent_id})

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
        return self._masters.ask("GET", with_query(path, query)).body

    def _post(self, path: str, fields: Mapping[str, str]) -> None:
        self._masters.ask("POST", path, json.dumps(fields).encode())


def _decoded(body: bytes, kind: type[RowT]) -> RowT:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ProtocolError(
            f"the master's answer cannot be read ({error}); run the same version on both sides"
        ) from None
