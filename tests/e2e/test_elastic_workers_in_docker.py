"""Elastic workers in Docker containers: what memory one's child takes is nobody else's loss."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from celery.exceptions import WorkerLostError

from tests.celery_clients import close_client
from tests.integration.celery_rig import APPS, client
from tests.waiting import eventually

from .celery_image import FOLDER
from .conftest import Cluster

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.xdist_group("docker"), pytest.mark.timeout(180)]

QUEUE: Final = f"elastic-{uuid4().hex[:8]}"
#: Of a worker: what it and two children have in Docker, and room for a small task.
MEM_MIB: Final = 160


class Group:
    """The command, two workers of two processes each, and what it says of them."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process: Final = process
        self._output: Final = output

    def up(self) -> dict[str, str]:
        """Task ids of the workers that answer, by node name."""
        said = [line for line in self._output.read_text().splitlines() if line.endswith("}")]
        workers = json.loads(said[-1])["workers"] if said else []
        return {worker["node"]: worker["task_id"] for worker in workers if worker["phase"] == "up"}


@pytest.fixture
def elastic(docker_cluster: Cluster, image_with_celery: str, bridge_redis: str, tmp_path: Path) -> Iterator[Group]:
    of_workers = {"PARITY_REDIS": bridge_redis, "PARITY_QUEUE": QUEUE}
    command = [sys.executable, "-m", "mesolite.cli", "--home", str(docker_cluster.home), "celery-workers"]
    command += ["-A", "parity_tasks", "--name", QUEUE, "--app-path", FOLDER, "--image", image_with_celery]
    command += ["--min", "2", "--max", "2", "-c", "2", "--cpus", "0.5", "--mem", str(MEM_MIB), "--drain-grace", "10"]
    command += ["--on-stop", "drain", "--json", *(f"--env={name}={value}" for name, value in of_workers.items())]
    # Each message goes to a process that is free, not to a worker that is full.
    command += ["--", "--disable-prefetch"]
    output = tmp_path / "output"
    with output.open("wb") as out, (tmp_path / "errors").open("wb") as errors:
        # Where it finds the application: the image's folder is not here.
        process = subprocess.Popen(command, cwd=APPS, env={**os.environ, **of_workers}, stdout=out, stderr=errors)
    yield Group(process, output)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(40)
    finally:
        process.kill()


def test_a_child_that_takes_too_much_memory_ends_alone(elastic: Group, bridge_redis: str) -> None:
    """Method: every other process is at work when it happens; afterwards the same workers do more."""
    app = client(bridge_redis)
    app.conf.result_backend = bridge_redis

    def sent(name: str, *arguments: object) -> Any:
        return app.send_task(name, arguments, queue=QUEUE)

    workers = eventually(lambda: elastic.up() if len(elastic.up()) == 2 else None, within_s=60)
    neighbours = [sent("parity.nap", 6) for _ in range(3)]
    greedy = sent("parity.hoard", 4 * MEM_MIB)
    with pytest.raises(WorkerLostError, match="SIGKILL"):
        greedy.get(timeout=30)
    assert not any(each.ready() for each in neighbours), "they were not at work any more"
    assert [each.get(timeout=30) for each in neighbours] == ["slept"] * 3
    assert [each.get(timeout=30) for each in [sent("parity.add", number, 1) for number in range(20)]] == [*range(1, 21)]
    assert elastic.up() == workers
    close_client(app)
