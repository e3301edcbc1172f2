"""A worker of Celery in the cluster's Flower, as a process, and what Flower's metrics say."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final

from mesolite.transport.celery_broker import broker_errors
from tests.celery_clients import close_client
from tests.waiting import eventually

from .celery_worker_program import make_app

#: Its name in Celery and in Flower.
WORKER: Final = "celery@shop"
START_S: Final = 40.0
PROGRAM: Final = "tests.integration.celery_worker_program"
POOL: Final = f"{PROGRAM}:PlayedPool"

_SAMPLE: Final = re.compile(r"^(\w+)\{(.*)\} (\S+)$")
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


class Worker:
    """A worker process.

    Args:
        broker_url: Of the application.
        cluster_url: The Redis that the cluster's Flower reads.
        log: Where it writes.
        shown_per_s: New tasks a second that are shown; 0: all.
    """

    def __init__(self, broker_url: str, cluster_url: str, log: Path, *, shown_per_s: float = 0.0) -> None:
        self.app: Any = make_app(broker_url)
        self._command: Final = [sys.executable, "-m", PROGRAM]
        self._arguments: Final = [broker_url, cluster_url, f"{shown_per_s:g}", "-n", WORKER]
        self._log: Final = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            # Read by Celery when it is imported.
            environment = {**os.environ, "CELERY_CUSTOM_WORKER_POOL": POOL}
            command = [*self._command, *self._arguments, *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            eventually(self.answers, within_s=START_S)
        except AssertionError:
            raise AssertionError(self.log()) from None

    def answers(self) -> bool:
        """Whether it answers at its own broker."""
        with contextlib.suppress(*broker_errors()):
            return bool(self.app.control.ping(destination=[WORKER], timeout=0.5))
        return False

    def call(self, name: str, *args: object, **options: object) -> str:
        """Send a task; return its id."""
        return str(self.app.send_task(f"shop.{name}", args, **options).id)

    def kill(self) -> None:
        """End it without a word."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)
        self._process = None

    def runs(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text()

    def close(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
        close_client(self.app)


@contextlib.contextmanager
def worker(broker_url: str, cluster_url: str, log: Path, *options: str, shown_per_s: float = 0.0) -> Generator[Worker]:
    """A worker that answers."""
    made = Worker(broker_url, cluster_url, log, shown_per_s=shown_per_s)
    try:
        made.start(*options)
        yield made
    finally:
        made.close()


class Metrics:
    """What Flower tells Prometheus."""

    def __init__(self, text: str) -> None:
        self._samples: Final[list[tuple[str, Mapping[str, str], float]]] = []
        for line in text.splitlines():
            if (match := _SAMPLE.match(line)) is not None:
                name, labels, value = match.groups()
                self._samples.append((name, dict(_LABEL.findall(labels)), float(value)))

    def sum(self, name: str, **labels: str) -> float:
        """The sum of what has these labels."""
        return sum(value for sample, has, value in self._samples if sample == name and labels.items() <= has.items())

    def events(self, kind: str, **labels: str) -> float:
        """How many events of a kind."""
        return self.sum("flower_events_total", type=f"task-{kind}", **labels)
