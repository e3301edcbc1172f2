"""Workers that run tasks of an application, without a dispatcher: messages are taken from their queue and handed to a runner.

with celery_rig(tmp_path, redis_url, monkeypatch) as rig:
    report = rig.run("parity.add", 1, 2)
    assert rig.meta(report)["result"] == 3
"""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import pytest
from celery import Celery
from redis import Redis

from mesolite.executors.celery import protocol
from mesolite.executors.celery.protocol import TaskReport, TaskRun
from mesolite.executors.python.calls import Call, End, Function, Outcome
from mesolite.executors.python.preload import VARIABLE
from mesolite.frameworks.celery.task_function import arguments, report_of
from tests.celery_clients import close_client
from tests.integration.call_rig import CallRig, spawn_zygote
from tests.waiting import eventually

APPS: Final = Path(__file__).parent / "celery_apps"
NODE: Final = "dispatcher@test"
#: As in the source tree, where a bundle has another name for it.
_ENTRY_MODULE: Final = "mesolite.executors.celery.entry"
_PRELOAD_MODULE: Final = "mesolite.executors.celery.preload"

_queues = count(1)


@dataclass(frozen=True)
class Ran:
    """A task that was run."""

    task_id: str
    outcome: Outcome

    @property
    def report(self) -> TaskReport:
        """What the worker said of it."""
        assert self.outcome.end is End.RETURNED, self.outcome
        assert isinstance(self.outcome.payload, bytes)
        return report_of(self.outcome.payload)


class CeleryRig:
    """A runner, its workers, and a queue."""

    def __init__(self, calls: CallRig, redis_url: str, queue: str) -> None:
        self.calls: Final = calls
        self.queue: Final = queue
        self.redis: Final = Redis.from_url(redis_url)
        self.client: Final[Any] = client(redis_url)
        self._function: Final = _entry()

    def run(self, name: str, *args: Any, soft_limit_s: float | None = None, **options: Any) -> Ran:
        """Send a task and run it; options are those of `apply_async`."""
        return self.wait(self.give(self.send(name, *args, **options), soft_limit_s=soft_limit_s))

    def send(self, name: str, *args: Any, **options: Any) -> TaskRun:
        """Send a task, and take its message from the queue."""
        sent = self.client.send_task(name, args, queue=self.queue, **options)
        return next(run for run in self.take_all() if run.task_id == sent.id)

    def take_all(self) -> list[TaskRun]:
        """Take all messages, oldest first: a task that retries or calls others leaves some."""
        runs: list[TaskRun] = []
        while isinstance(message := self.redis.rpop(self.queue), bytes):
            runs.append(run_of(json.loads(message)))
        return runs

    def give(self, run: TaskRun, *, soft_limit_s: float | None = None, **options: Any) -> str:
        """Hand a run to the workers; options are those of `Call`. Returns its key."""
        run = run._replace(soft_limit_s=soft_limit_s)
        rig = self.calls
        key = f"{run.task_id}.{next(_queues)}"
        call = Call(key, self._function, arguments(run), rig.done, name=key, **options)
        rig.runner.submit([call])
        return key

    def wait(self, key: str) -> Ran:
        """Run the loop until it has ended."""
        return Ran(key.rpartition(".")[0], self.calls.wait(key))

    def meta(self, task_id: str) -> dict[str, Any] | None:
        """What the backend has."""
        return meta_of(self.redis, task_id)

    def log_of(self, key: str) -> str:
        """What a run printed."""
        path = self.calls.sandbox / "calls" / f"{key}.log"
        return path.read_text() if path.exists() else ""


@contextmanager
def celery_rig(
    sandbox: Path,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    workers: int = 1,
    environment: dict[str, str] | None = None,
) -> Generator[CeleryRig]:
    """A rig, ended with the test; the environment is that of its executor."""
    queue = f"rig-{os.getpid()}-{next(_queues)}"
    values = {
        "PARITY_REDIS": redis_url,
        "PARITY_QUEUE": queue,
        VARIABLE: _PRELOAD_MODULE,
        protocol.APP_VARIABLE: "parity_tasks",
        protocol.PATH_VARIABLE: str(APPS),
        protocol.VERSION_VARIABLE: "5.7.0",
        protocol.NODE_VARIABLE: NODE,
        **(environment or {}),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    # What other tests left in this process is no business of Celery's, and would count as the application's memory.
    calls = CallRig(sandbox, workers=workers, preloads=bool(values[VARIABLE]), zygote=spawn_zygote(sandbox))
    try:
        rig = CeleryRig(calls, redis_url, queue)
        yield rig
        rig.redis.close()
        close_client(rig.client)
    finally:
        calls.close()


def client(redis_url: str) -> Any:
    """An application that knows no task, to send messages by."""
    app: Any = Celery("client", broker=redis_url, set_as_current=False)
    return app


def run_of(message: dict[str, Any]) -> TaskRun:
    """A message as kombu writes it to Redis, as the run that Celery's own request makes of it."""
    headers, properties = message["headers"], message["properties"]
    request = {
        **headers,
        "properties": properties,
        "reply_to": properties.get("reply_to"),
        "correlation_id": properties.get("correlation_id"),
        "hostname": NODE,
        "delivery_info": {
            "exchange": properties["delivery_info"]["exchange"],
            "routing_key": properties["delivery_info"]["routing_key"],
            "priority": properties.get("priority"),
            "redelivered": None,
        },
    }
    body = base64.b64decode(message["body"])
    return TaskRun(
        headers["task"], headers["id"], request, body, message["content-type"], message["content-encoding"], None
    )


def meta_of(redis: "Redis", task_id: str) -> dict[str, Any] | None:
    """What the backend has of a task."""
    found = redis.get(f"celery-task-meta-{task_id}")
    return cast("dict[str, Any]", json.loads(found)) if isinstance(found, bytes) else None


@contextmanager
def prefork_worker(directory: Path, redis_url: str, queue: str) -> Generator[None]:
    """Celery's own worker with one child, on the same application."""
    log = directory / "prefork.log"
    environment = {**os.environ, "PARITY_REDIS": redis_url, "PARITY_QUEUE": queue, "PYTHONPATH": str(APPS)}
    arguments = ["-A", "parity_tasks", "worker", "-P", "prefork", "-c", "1", "-Q", queue, "-n", NODE, "-l", "INFO"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", *arguments, "--without-gossip", "--without-mingle"],
            env=environment,
            stdout=output,
            stderr=output,
            cwd=APPS,
        )
    try:
        eventually(lambda: b" ready." in log.read_bytes(), within_s=60)
        yield
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGQUIT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _entry() -> Function:
    return Function(b"celery-entry-run", f"c{_ENTRY_MODULE}\nrun\n.".encode())
