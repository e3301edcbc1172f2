"""The two servers: a plain Celery worker, and `mesolite celery` on a cluster; each with a broker of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from .client import Client

ROOT: Final = Path(__file__).resolve().parents[3]
#: Importing Celery and the application takes seconds on a busy machine.
START_S: Final = 60.0
#: A worker ends its tasks first.
END_S: Final = 15.0
QUEUES: Final = "celery,slow,first,second"
#: The module that workers load: the application with one server's addresses.
MAIN: Final = "parity_main"


class CeleryServer:
    """A process that runs the application's tasks."""

    def __init__(self, name: str, folder: Path, *, broker: str, backend: str, board: str) -> None:
        """Write the module that it loads; nothing is started."""
        self.name = name
        self.folder = folder
        self._addresses = {"broker": broker, "backend": backend, "board": board}
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        (folder / f"{MAIN}.py").write_text(
            f"from tests.e2e.celery_parity.parity_app import make_app\n\napp = make_app(**{self._addresses!r})\n"
        )

    def client(self) -> Client:
        """A client of it, which speaks to the same addresses."""
        return Client(self.name, self._addresses)

    def start(self, command: Sequence[str], environment: dict[str, str]) -> None:
        """Start the process; see `wait_until_up`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(command),
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "PYTHONUNBUFFERED": "1",
                    "C_FORCE_ROOT": "1",
                    **environment,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until_up(self, app: Any) -> None:
        """Wait until it answers a ping."""
        deadline_s = time.monotonic() + START_S
        while not app.control.ping(timeout=0.5):
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline_s, f"{self.name} does not answer: {self.log.read_text()}"

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        try:
            return self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    @property
    def pid(self) -> int:
        """Of its main process."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "log"


class PlainCelery(CeleryServer):
    """`celery worker -P prefork -c 2 -E`."""

    def begin(self, *options: str) -> None:
        """Start it."""
        command = [sys.executable, "-m", "celery", "-A", MAIN, "worker", "-P", "prefork", "-c", "2", "-E"]
        self.start([*command, "-n", "plain@parity", "-Q", QUEUES, "-l", "INFO", *options], {})


class MesoliteCelery(CeleryServer):
    """`mesolite celery` on a cluster that runs already."""

    def begin(self, home: Path, *options: str) -> None:
        """Start it on the cluster of this home."""
        command = [
            sys.executable,
            "-m",
            "mesolite.cli",
            "celery",
            "-A",
            MAIN,
            "--path",
            str(self.folder),
            "--path",
            str(ROOT),
        ]
        environment = {"MESOLITE_HOME": str(home), "NO_COLOR": "1"}
        self.start([*command, "-c", "2", "-E", "-Q", QUEUES, "-l", "INFO", *options], environment)
