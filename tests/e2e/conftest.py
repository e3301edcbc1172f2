"""Real clusters for the tests of this folder: processes, Redis, Docker where asked for, Flower; driven by the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from mesolite.cli.processes import stop_process
from mesolite.cli.startup import Startup
from mesolite.config import UpConfig
from mesolite.discovery import ClusterAddress, ProcessRecord, read_cluster
from tests import waiting

from .celery_image import built_image, redis_on_bridge

#: Far beyond what anything here takes; then it hangs.
COMMAND_TIMEOUT_S = 90


@dataclass(frozen=True)
class Cluster:
    """A running cluster and its command line."""

    home: Path
    address: ClusterAddress

    def mesolite(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run one command against this cluster."""
        return subprocess.run(
            [sys.executable, "-m", "mesolite.cli", *arguments],
            env={**os.environ, "MESOLITE_HOME": str(self.home), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=check,
        )

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a listing with --json."""
        listed: list[dict[str, Any]] = json.loads(self.mesolite(*arguments, "--json", check=True).stdout)
        return listed

    def process(self, name: str) -> ProcessRecord:
        """Find one of its processes, as recorded now."""
        address = read_cluster(self.home)
        assert address is not None
        return next(record for record in address.processes if record.name == name)

    def restart(self, config: UpConfig) -> None:
        """Start what does not run, as `mesolite up` does when repeated."""
        Startup(self.home, config, None, say=lambda line: None).run()


def eventually(condition: Callable[[], bool], what: str, *, within_s: float = 30) -> None:
    """Wait for a condition, and fail at the deadline with what was waited for."""
    try:
        waiting.eventually(condition, within_s=within_s)
    except AssertionError as late:
        raise AssertionError(f"{what}: {late}") from None


@contextmanager
def running(home: Path, config: UpConfig) -> Generator[Cluster]:
    """Start a cluster in a folder and stop all of it."""
    home.chmod(0o755)
    try:
        yield Cluster(home, Startup(home, config, None, say=lambda line: None).run())
    finally:
        address = read_cluster(home)
        for record in reversed(address.processes if address is not None else ()):
            stop_process(record)


@pytest.fixture(scope="session")
def docker_cluster(tmp_path_factory: pytest.TempPathFactory, docker_engine: docker.DockerClient) -> Iterator[Cluster]:
    """Two agents with Docker, and Flower."""
    config = UpConfig(
        agents=2,
        agent_resources="cpus:2;mem:512",
        containerizer="docker",
        image=os.environ.get("MESOLITE_IMAGE", "python:3.11-slim"),
    )
    with running(tmp_path_factory.mktemp("docker-cluster"), config) as cluster:
        yield cluster


PROCESS_CONFIG = UpConfig(agents=1, agent_resources="cpus:2;mem:512", containerizer="process", flower=False)


@pytest.fixture
def process_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One agent with plain processes, for tests that break things."""
    with running(tmp_path, PROCESS_CONFIG) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def image_with_celery(docker_engine: docker.DockerClient) -> Iterator[str]:
    """An image with Celery and the application of `parity_tasks`."""
    with built_image(docker_engine) as tag:
        yield tag


@pytest.fixture(scope="session")
def bridge_redis(docker_engine: docker.DockerClient) -> Iterator[str]:
    """A Redis for applications that containers reach."""
    with redis_on_bridge(docker_engine) as url:
        yield url
