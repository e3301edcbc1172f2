"""Agents in Flower, on real brokers: a presence to speak, Flower's process to be asked over HTTP."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

from mesolite.agent.flower import AgentView, FlowerPresence, TaskEnding, TaskView
from mesolite.agent.flower_tasks import Outcome
from mesolite.ids import AgentId, FrameworkId, TaskId
from mesolite.ports import LOOPBACK, free_port
from mesolite.transport.kombu_address import kombu_url
from tests.waiting import eventually

FRAMEWORK: Final = FrameworkId("fw-1")
DETAILS: Final = AgentView(
    hostname="host-a", containerizer="process", resources_milli=(("cpus", 2000), ("mem", 512_000)), version="1.2"
)
#: Importing Flower takes seconds on a busy machine.
START_S: Final = 60.0


def view(task_id: str) -> TaskView:
    """A task that sleeps."""
    return TaskView(
        task_id=TaskId(task_id),
        framework_id=FRAMEWORK,
        framework_name="batch",
        name="sleep",
        command="sleep 100",
        resources_milli=(("cpus", 500), ("mem", 64_000)),
    )


def shown(task_id: str) -> str:
    """The id of such a task in Flower."""
    return f"{FRAMEWORK}/{task_id}"


class Agent:
    """A presence, and what it was asked to terminate."""

    def __init__(self, broker_url: str, *, name: str = "agent-1", shown_tasks_per_s: float = 1000.0) -> None:
        self.terminated: list[tuple[str | None, str]] = []
        self.presence = FlowerPresence(
            agent_id=AgentId(name),
            broker_url=broker_url,
            details=lambda: DETAILS,
            on_terminate=lambda framework_id, task_id: self.terminated.append((framework_id, task_id)),
            shown_tasks_per_s=shown_tasks_per_s,
        )
        self.presence.start()

    def runs(self, *task_ids: str) -> None:
        """Tasks arrive and start."""
        for task_id in task_ids:
            self.presence.task_received(view(task_id))
            self.presence.task_started(shown(task_id))

    def ends(self, task_id: str, outcome: Outcome, **more: Any) -> None:
        """A task ends."""
        self.presence.task_ended(view(task_id), TaskEnding(outcome=outcome, ended_s=time.time(), **more))

    def close(self) -> None:
        """It goes."""
        self.presence.close()


class Flower:
    """A Flower process: ours, or as it comes from PyPI."""

    def __init__(self, broker_url: str, log: Path, *, plain: bool = False) -> None:
        self._port = free_port()
        self._broker_url = broker_url
        self._log_path = log
        self._plain = plain
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), env={**os.environ, **self._environment()}, stdout=log, stderr=log
            )
        eventually(lambda: self.page("/healthcheck") == 200, within_s=START_S)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """End it, and return its exit code; None where it had been ended before."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(number)
        return process.wait(20)

    def log(self) -> str:
        """What it wrote."""
        return self._log_path.read_text()

    def states(self) -> dict[str, str]:
        """The state of each task; empty where it does not answer."""
        try:
            return {task_id: task["state"] for task_id, task in self.get("/api/tasks?limit=100000").items()}
        except OSError:
            return {}

    def get(self, path: str) -> dict[str, Any]:
        """What the API answers."""
        return cast("dict[str, Any]", json.loads(self._ask("GET", path)[1]))

    def text(self, path: str) -> str:
        """A page."""
        return self._ask("GET", path)[1].decode()

    def post(self, path: str) -> None:
        """Tell the API to do something."""
        status, body = self._ask("POST", path)
        assert status == 200, body

    def ask_to_terminate(self, shown_id: str) -> int:
        """Press the button; says with which status it was answered."""
        return self._ask("POST", f"/api/task/revoke/{shown_id}?terminate=true")[0]

    def page(self, path: str) -> int:
        """The status of a page; 0 where nobody answers."""
        try:
            return self._ask("GET", path)[0]
        except OSError:
            return 0

    def _command(self) -> Sequence[str]:
        if self._plain:
            return [sys.executable, "-m", "celery", "flower", f"--address={LOOPBACK}", f"--port={self._port}"]
        return [sys.executable, "-m", "mesolite.cli", "flower", "--http-port", str(self._port)]

    def _environment(self) -> dict[str, str]:
        if self._plain:
            return {"BROKER_URL": kombu_url(self._broker_url), "FLOWER_UNAUTHENTICATED_API": "1"}
        return {"MESOLITE_REDIS_URL": self._broker_url}

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=20)
        try:
            connection.request(method, path, b"" if method == "POST" else None)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
