"""The agent's end of one executor's socket, played by a test: says lines, acknowledges updates, remembers what it heard."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mesolite.agent.bundle import assemble_bundle
from mesolite.executors.python.calls import Outcome
from mesolite.executors.python.tasks import decode_outcome
from tests.waiting import eventually

TERMINAL = frozenset({"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_DROPPED"})
_PATIENCE_S = 20.0


class StubAgent:
    """An agent with one executor, which is a process of its own."""

    def __init__(
        self,
        directory: Path,
        data: bytes,
        *,
        cpus: float = 2.0,
        mem_mib: int = 0,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.sandbox = directory / "sandbox"
        self.sockets = directory / "sockets"
        self.sandbox.mkdir()
        self.sockets.mkdir()
        self._subscribed: dict[str, object] = {
            "type": "SUBSCRIBED",
            "version": 1,
            "framework_id": "f",
            "executor_id": "e",
            "agent_id": "a",
            "container_id": "c",
            "cpus": cpus,
            "mem_mib": mem_mib,
            "data": base64.b64encode(data).decode(),
        }
        self.updates: list[dict[str, Any]] = []
        self.totals: list[dict[str, Any]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(_PATIENCE_S)
        self._listener.bind(str(self.sockets / "agent.sock"))
        self._listener.listen()
        self._rest = b""
        self._connection: socket.socket | None = None
        with (self.sandbox / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(assemble_bundle(directory))],
                cwd=self.sandbox,
                env={
                    "PATH": os.environ["PATH"],
                    "MESOS_SANDBOX": str(self.sandbox),
                    "MESOS_DOMAIN_SOCKET": str(self.sockets / "agent.sock"),
                    "MESOLITE_SOCKETS": str(self.sockets),
                    **(environment or {}),
                },
                stdout=stderr,
                stderr=stderr,
            )

    def subscribe(self) -> None:
        """Let the executor in."""
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(_PATIENCE_S)
        assert self._line()["type"] == "SUBSCRIBE"
        self.say(self._subscribed)

    def say(self, *messages: dict[str, object]) -> None:
        """Say these in one write."""
        assert self._connection is not None
        self._connection.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def launch(self, task_id: str, data: bytes, *, cpus: float = 1.0) -> None:
        """Launch one task."""
        self.say(launch_message(task_id, data, cpus=cpus))

    def update_of(self, task_id: str, *states: str) -> dict[str, Any]:
        """Wait for one of these updates of a task."""
        while True:
            for update in self.updates:
                if update["task_id"] == task_id and update["state"] in states:
                    return update
            self.hear()

    def end_of(self, task_id: str) -> dict[str, Any]:
        """Wait for the last update of a task."""
        return self.update_of(task_id, *TERMINAL)

    def states_of(self, task_id: str) -> list[str]:
        """The states that were heard of a task."""
        return [update["state"] for update in self.updates if update["task_id"] == task_id]

    def hear(self) -> None:
        """Take the next message, and acknowledge it where it is an update."""
        message = self._line()
        if message["type"] == "UPDATE":
            self.updates.append(message)
            self.say({"type": "ACKNOWLEDGED", "task_id": message["task_id"], "update_id": message["update_id"]})
        elif message["type"] == "TOTALS":
            self.totals.append(message)

    def _line(self) -> dict[str, Any]:
        assert self._connection is not None
        while b"\n" not in self._rest:
            piece = self._connection.recv(1 << 20)
            assert piece, f"the executor hung up: {(self.sandbox / 'stderr').read_text()}"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def exit_code(self) -> int:
        """Wait until the executor is over."""
        return self.process.wait(_PATIENCE_S)

    def processes(self) -> list[int]:
        """The executor's processes: itself, its zygote, its workers."""
        found, new = [self.process.pid], [self.process.pid]
        while new:
            parents, new = new, []
            for pid in parents:
                new.extend(children_of(pid))
            found.extend(new)
        return found

    def close(self) -> None:
        """End it all."""
        if self._connection is not None:
            self._connection.close()
        self._listener.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(_PATIENCE_S)


@contextmanager
def stub_agent(directory: Path, data: bytes, *, subscribe: bool = True, **options: Any) -> Generator[StubAgent]:
    """An agent whose executor has subscribed, unless the test does that; ended with the test."""
    agent = StubAgent(directory, data, **options)
    try:
        if subscribe:
            agent.subscribe()
        yield agent
    finally:
        agent.close()


def launch_message(task_id: str, data: bytes, *, cpus: float = 1.0) -> dict[str, object]:
    """A LAUNCH."""
    encoded = base64.b64encode(data).decode()
    return {"type": "LAUNCH", "task": {"task_id": task_id, "resources": {"cpus": cpus}, "data": encoded}}


def outcome_in(update: dict[str, Any]) -> Outcome:
    """The outcome that a last update carries."""
    outcome = decode_outcome(base64.b64decode(update.get("data", "")))
    assert outcome is not None, update
    return outcome


def children_of(pid: int) -> list[int]:
    """Process ids of a process's children."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def all_gone(pids: list[int]) -> None:
    """Wait until none of these runs."""
    eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() and _alive(pid) for pid in pids))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
