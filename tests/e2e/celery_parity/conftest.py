"""Both servers, up for all tests of this folder."""

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from mesolite.config import UpConfig
from mesolite.embedded_redis import EmbeddedRedis

from ..conftest import Cluster, running
from .client import Client
from .servers import MesoliteCelery, PlainCelery

#: Of every test here. Celery leaves its clients' sockets to the collector of garbage.
MARKS = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.xdist_group("celery-parity"),
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: Room for two tasks at once, as the plain worker has two processes.
CONFIG = UpConfig(agents=1, agent_resources="cpus:4;mem:2048", containerizer="process", flower=False)


def database(redis_url: str, number: int) -> str:
    """Another database of the same server."""
    return urlsplit(redis_url)._replace(path=f"/{number}").geturl()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of these servers' own: what other tests do to theirs, plain Celery does not always survive."""
    with EmbeddedRedis(tmp_path_factory.mktemp("parity-redis")) as server:
        yield server.url


@pytest.fixture(scope="session")
def parity_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of plain processes, with a Redis of its own."""
    with running(tmp_path_factory.mktemp("parity-cluster"), CONFIG) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def plain_server(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainCelery]:
    """The plain worker."""
    url = database(redis_url, 11)
    server = PlainCelery("plain", tmp_path_factory.mktemp("plain"), broker=url, backend=url, board=url)
    server.begin()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mesolite_server(
    redis_url: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[PlainCelery | MesoliteCelery]:
    """Mesolite; or another plain worker, to test the tests."""
    url = database(redis_url, 12)
    folder = tmp_path_factory.mktemp("mesolite")
    if os.environ.get("MESOLITE_PARITY_OF_PLAIN"):
        twin = PlainCelery("mesolite", folder, broker=url, backend=url, board=url)
        twin.begin()
        yield twin
        twin.stop()
        return
    cluster: Cluster = request.getfixturevalue("parity_cluster")
    server = MesoliteCelery("mesolite", folder, broker=url, backend=url, board=url)
    server.begin(cluster.home)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def clients(
    plain_server: PlainCelery, mesolite_server: PlainCelery | MesoliteCelery
) -> Iterator[tuple[Client, Client]]:
    """A client of each, once both answer."""
    made = plain_server.client(), mesolite_server.client()
    plain_server.wait_until_up(made[0].app)
    mesolite_server.wait_until_up(made[1].app)
    # The first task waits for the first container and its imports, which on a busy machine take longer than any test.
    begun = [client.begin(lambda client: client.end(client.app.tasks["parity.add"].delay(1, 1))) for client in made]
    assert [each.result().told["result"] for each in begun] == [2, 2]
    yield made
    for client in made:
        client.close()
