"""A RabbitMQ of a test's own, on ports and in a folder of its own, with a port mapper of its own.

with rabbit_server() as server, dispatcher_rig(server.url, "classic") as rig:
    ...
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from kombu.connection import Connection

from mesolite.ports import LOOPBACK, free_port
from mesolite.redis_program import spawn_guarded
from tests.waiting import eventually

#: Not what is on PATH: that becomes another user first.
_PROGRAMS: Final = Path("/usr/lib/rabbitmq/bin")
#: It takes seven seconds on an idle machine.
_START_S: Final = 120.0
_STOP_S: Final = 60.0
_COMMAND_S: Final = 60.0


@dataclass(slots=True)
class RabbitServer:
    """One that runs."""

    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        """As Celery writes it."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}//"

    def close_connections(self) -> None:
        """Have it close all connections, as an operator does, or a restart."""
        self._control("close_all_connections", "because a test says so")

    @contextmanager
    def unreachable(self) -> Generator[None]:
        """Close all connections, and accept none meanwhile."""
        self._control("eval", "rabbit_maintenance:suspend_all_client_listeners().")
        try:
            self.close_connections()
            yield
        finally:
            self._control("eval", "rabbit_maintenance:resume_all_client_listeners().")

    def message_counts(self) -> dict[str, int]:
        """How many messages each queue has, delivered or not."""
        lines = self._control("--silent", "list_queues", "name", "messages").splitlines()
        return {name: int(count) for name, _, count in (line.partition("\t") for line in lines)}

    def _control(self, *arguments: str) -> str:
        command = [str(_PROGRAMS / "rabbitmqctl"), *arguments]
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def answers(self) -> bool:
        """Whether clients can connect."""
        make: Any = Connection
        connection = make(self.url, connect_timeout=2)
        with contextlib.suppress(*connection.connection_errors), connection:
            connection.connect()
            return True
        return False


@contextmanager
def rabbit_server() -> Generator[RabbitServer]:
    """Start one on ports and in a folder of its own, with a port mapper of its own, and end both."""
    mapper = shutil.which("epmd")
    if mapper is None or not (_PROGRAMS / "rabbitmq-server").exists():
        pytest.skip("no RabbitMQ is installed: apt-get install rabbitmq-server")
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mesolite-rabbit-")))
        port, mapper_port = free_port(), free_port()
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = {LOOPBACK}:{port}\nlog.file = false\n")
        (folder / "plugins").write_text("[].\n")
        environment = {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(mapper_port),
            "RABBITMQ_NODENAME": "mesolite-test@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            # The virtual machine takes the script's place, and so the signal that ends it.
            "RUNNING_UNDER_SYSTEMD": "1",
        }
        cleanup.enter_context(_guarded([mapper, "-port", str(mapper_port), "-address", LOOPBACK], folder / "mapper"))
        given = [f"{name}={value}" for name, value in environment.items()]
        command = ["/usr/bin/env", *given, str(_PROGRAMS / "rabbitmq-server")]
        guard = cleanup.enter_context(_guarded(command, folder / "output"))
        server = RabbitServer(port, environment)
        eventually(lambda: server.answers() or guard.poll() is not None, within_s=_START_S)
        assert guard.poll() is None, (folder / "output").read_text(errors="replace")
        yield server


@contextmanager
def _guarded(command: list[str], log: Path) -> Generator[subprocess.Popen[bytes]]:
    guard = spawn_guarded(command, log)
    try:
        yield guard
    finally:
        assert guard.stdin is not None, "it was opened as a pipe"
        guard.stdin.close()
        guard.wait(_STOP_S)
