"""Load and judge on the small cluster of `mesolite up`: the same trials as on the compose cluster, with less that can die."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest

from mesolite.cli.processes import is_alive
from mesolite.config import UpConfig

from .conftest import Cluster, eventually, running
from .load import LoadProcess
from .trial import Trials

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.xdist_group("docker"), pytest.mark.timeout(300)]

CONFIG = UpConfig(
    agents=2,
    agent_resources="cpus:1;mem:1024",
    containerizer="docker",
    image=os.environ.get("MESOLITE_IMAGE", "python:3.11-slim"),
)
#: Enough that work flows for some seconds.
SHORT_WAVE = 40
PACE_PER_S = 8.0


class UpSite:
    """A cluster of `mesolite up`, as a site."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.redis_url = cluster.address.redis_url
        self.cluster = cluster.address.cluster
        self.flower_url = cluster.address.flower_url or ""

    def masters(self) -> dict[str, list[str]]:
        """See `Site`."""
        url = self._cluster.address.master_url
        return {url: [urlsplit(url).netloc]}

    def agent_ids(self) -> list[str]:
        """See `Site`."""
        return [f"agent-{number}" for number in range(1, CONFIG.agents + 1)]

    def work_dirs(self) -> list[Path]:
        """See `Site`."""
        return [self._cluster.home / agent_id for agent_id in self.agent_ids()]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, docker_engine: docker.DockerClient) -> Iterator[Cluster]:
    """Two agents with Docker, and Flower."""
    with running(tmp_path_factory.mktemp("up"), CONFIG) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def trials(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, docker_engine: docker.DockerClient
) -> Iterator[Trials]:
    """Ten long tasks that run, and short ones when asked for."""
    site = UpSite(cluster)
    load = LoadProcess(tmp_path_factory.mktemp("load"), site.redis_url, site.cluster, CONFIG.image, PACE_PER_S)
    trials = Trials(site, load, docker_engine)
    try:
        trials.begin()
        yield trials
    finally:
        load.close()


@pytest.mark.parametrize("victim", ["master", "agent-1", "redis"])
def test_nobody_notices_the_death_of(
    cluster: Cluster, trials: Trials, victim: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with trials.of(f"kill -9 {victim}", capsys, wave=SHORT_WAVE):
        record = cluster.process(victim)
        os.kill(record.pid, signal.SIGKILL)
        eventually(lambda: not is_alive(record), f"{victim} is dead")
        cluster.restart(CONFIG)


def test_nobody_notices_the_death_of_the_scheduler(trials: Trials, capsys: pytest.CaptureFixture[str]) -> None:
    with trials.of("kill -9 the framework's scheduler", capsys, wave=SHORT_WAVE):
        trials.load.kill()
        lives = trials.load.story().lives
        trials.load.start()
        eventually(lambda: trials.load.story().lives == lives + 1, "it runs again")
