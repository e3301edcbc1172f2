"""One dispatcher on a cluster of plain processes, for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery

from mesolite.config import UpConfig
from tests.celery_clients import close_client

from ..celery_parity.conftest import database
from ..celery_parity.servers import MAIN, MesoliteCelery
from ..conftest import Cluster, running
from .limits_app import make_app

CONFIG = UpConfig(agents=1, agent_resources="cpus:4;mem:2048", containerizer="process", flower=False)


@dataclass(frozen=True)
class Limits:
    """What tests use."""

    app: Celery
    cluster: Cluster
    broker: str
    #: Where tasks write.
    folder: Path


@pytest.fixture(scope="session")
def limits(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limits]:
    """An application, and a dispatcher that runs its tasks."""
    url = database(redis_url, 9)
    folder = tmp_path_factory.mktemp("limits")
    written = tmp_path_factory.mktemp("written")
    for each in (folder, written):
        each.chmod(0o777)
    with running(tmp_path_factory.mktemp("limits-cluster"), CONFIG) as cluster:
        server = MesoliteCelery("limits", folder, broker=url, backend=url, board=url)
        arguments = {"broker": url, "backend": url, "folder": str(written)}
        (folder / f"{MAIN}.py").write_text(
            f"from tests.e2e.celery_limits.limits_app import make_app\n\napp = make_app(**{arguments!r})\n"
        )
        server.begin(cluster.home)
        app = make_app(**arguments)
        try:
            server.wait_until_up(app)
            yield Limits(app, cluster, url, written)
        finally:
            server.stop()
            close_client(app)
