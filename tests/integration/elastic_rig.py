"""Elastic workers for tests: a cluster of plain processes, a Celery application on a Redis, and the command as a process.

with ElasticRig(directory, redis_url) as rig:
    rig.start("--max", "2")
    rig.send("late", 20, seconds=0.1)
    eventually(lambda: rig.done() == rig.sent)
"""

import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import redis
from celery import Celery

from mesolite.cli.processes import stop_process
from mesolite.cli.startup import Startup
from mesolite.config import UpConfig
from mesolite.discovery import ClusterAddress, read_cluster, write_cluster
from mesolite.operator import OperatorClient
from mesolite.ports import free_port
from mesolite.transport.kombu_address import kombu_url
from tests.source_tree import ROOT
from tests.waiting import eventually

APPLICATION: Final = """
import os
import time

import redis
from celery import Celery

app = Celery("elastic", broker=os.environ["ELASTIC_BROKER"])
app.conf.update(task_ignore_result=True, task_default_queue=os.environ["ELASTIC_QUEUE"], broker_connection_retry_on_startup=True,
                broker_transport_options={"global_keyprefix": os.environ["ELASTIC_QUEUE"] + "/"})
marks = redis.Redis.from_url(os.environ["ELASTIC_MARKS"])


def work(number, seconds):
    time.sleep(seconds)
    marks.rpush(os.environ["ELASTIC_QUEUE"] + ".done", number)


@app.task(name="early")
def early(number, seconds):
    work(number, seconds)


@app.task(name="late", acks_late=True)
def late(number, seconds):
    work(number, seconds)
"""


class ElasticRig:
    """Used in a `with` block.

    Args:
        directory: Where files go.
        redis_url: Of the application's broker.
        agents: How many.
    """

    def __init__(self, directory: Path, redis_url: str, agents: int = 1) -> None:
        self.home: Final = directory / "cluster"
        self.queue: Final = f"elastic-{secrets.token_hex(4)}"
        self._directory: Final = directory
        self._agents: Final = agents
        self._broker: Final = kombu_url(redis_url)
        self._marks_url: Final = redis_url
        self._redis: Final = redis.Redis.from_url(redis_url)
        self._app: Final[Any] = Celery("sender", broker=self._broker)
        self._app.conf.task_default_queue = self.queue
        self._app.conf.broker_transport_options = {"global_keyprefix": f"{self.queue}/"}
        self._process: subprocess.Popen[bytes] | None = None
        self._master: subprocess.Popen[bytes] | None = None
        self._output: Final = directory / "output"
        self.errors: Final = directory / "errors"
        self.sent = Counter[int]()

    def __enter__(self) -> Self:
        self.home.mkdir()
        (self._directory / "elastic_app.py").write_text(APPLICATION)
        self._output.touch()
        config = UpConfig(agents=self._agents, agent_resources="cpus:8;mem:8192", containerizer="process", flower=False)
        Startup(self.home, config, None, say=lambda line: None).run()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        with suppress(AssertionError):
            self._kill_workers()
        for record in reversed(self.address.processes):
            stop_process(record)
        if self._master is not None:
            self._master.kill()
            self._master.wait()
        self._app.close()
        self._redis.close()

    @property
    def address(self) -> ClusterAddress:
        """Of the cluster."""
        address = read_cluster(self.home)
        assert address is not None
        return address

    def start(self, *options: str) -> None:
        """Run the command."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "ELASTIC_BROKER": self._broker,
            "ELASTIC_QUEUE": self.queue,
            "ELASTIC_MARKS": self._marks_url,
        }
        of_workers = [f"--env={name}={value}" for name, value in environment.items() if name.startswith("ELASTIC_")]
        command = [
            sys.executable,
            "-m",
            "mesolite.cli",
            "--home",
            str(self.home),
            "celery-workers",
            "-A",
            "elastic_app",
        ]
        command += ["--json", "--app-path", str(self._directory), "--python", sys.executable, *of_workers]
        with self._output.open("ab") as output, self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, *options], env=environment, cwd=self._directory, stdout=output, stderr=errors
            )

    def signal(self, number: signal.Signals) -> int:
        """Send the command a signal, and return how it ended."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(60)

    def send(self, task: str, count: int, *, seconds: float) -> None:
        """Send so many tasks, each to be done once."""
        first = len(self.sent)
        for number in range(first, first + count):
            self._app.send_task(task, (number, seconds))
            self.sent[number] = 1

    def done(self) -> Counter[int]:
        """How often each was done."""
        return Counter(int(each) for each in self._redis.lrange(f"{self.queue}.done", 0, -1))

    def wait_until_done(self, within_s: float = 60.0, *, twice_at_most: int = 0) -> None:
        """Wait until all that was sent was done, each once but for so many; where it was not, say what became of it."""

        def is_done() -> bool:
            done = self.done()
            again = done - self.sent
            return done.keys() == self.sent.keys() and again.total() <= twice_at_most and set(again.values()) <= {1}

        try:
            eventually(is_done, within_s=within_s)
        except AssertionError:
            done = self.done()
            kept = {name: self._redis.hlen(f"{self.queue}/{name}") for name in ("unacked",)}
            told = (self.sent - done, done - self.sent, self._redis.llen(f"{self.queue}/{self.queue}"), kept)
            raise AssertionError("missing {}, more than once {}, {} wait, {}".format(*told)) from None

    def statuses(self) -> list[dict[str, Any]]:
        """All that the command said."""
        return [json.loads(line) for line in self._output.read_text().splitlines() if line.endswith("}")]

    def workers(self, phase: str | None = None) -> list[dict[str, Any]]:
        """Workers as the command said last, those of a phase or all."""
        said = self.statuses()
        workers: list[dict[str, Any]] = said[-1]["workers"] if said else []
        return [worker for worker in workers if phase is None or worker["phase"] == phase]

    def replace_master(self) -> None:
        """Kill the master when another stands by, and wait until that leads."""
        address = self.address
        port = free_port()
        settings = {"MESOLITE_REDIS_URL": address.redis_url, "MESOLITE_CLUSTER": address.cluster}
        argv = [sys.executable, "-m", "mesolite.cli", "master", "--http-port", str(port)]
        self._master = subprocess.Popen(argv, env={**os.environ, **settings}, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: _answers(url), within_s=30)
        os.kill(next(record.pid for record in address.processes if record.name == "master"), signal.SIGKILL)
        write_cluster(self.home, msgspec.structs.replace(address, master_url=url))
        eventually(lambda: _leads(url), within_s=30)

    def tasks(self) -> list[str]:
        """Ids of the tasks that the master knows and that have not ended."""
        return [row.task_id for row in OperatorClient(self.address.master_url).tasks()]

    def pids(self, task_id: str) -> list[int]:
        """Processes of a worker, the first of them first."""
        mark = f"MESOS_TASK_ID={task_id}\0".encode()
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return sorted(pid for pid in found if b"celery" in Path(f"/proc/{pid}/cmdline").read_bytes())

    def _kill_workers(self) -> None:
        client = OperatorClient(self.address.master_url)
        for row in client.tasks():
            with suppress(OSError):
                for pid in self.pids(row.task_id):
                    os.kill(pid, signal.SIGKILL)
        eventually(lambda: not client.tasks(), within_s=15)


def _health(url: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", "/health")
        health: dict[str, Any] = json.loads(connection.getresponse().read() or b"{}")
    except OSError:
        return {}
    finally:
        connection.close()
    return health


def _answers(url: str) -> bool:
    return "leads" in _health(url)


def _leads(url: str) -> bool:
    return _health(url).get("leads") is True
