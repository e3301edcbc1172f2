"""`mesolite celery` and tasks of two shapes on one agent: neither keeps the other from being fetched, or from workers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import redis

from mesolite.config import UpConfig
from tests.waiting import eventually

from .celery_parity.client import Client
from .celery_parity.parity_app import gates, plain
from .celery_parity.servers import MesoliteCelery
from .conftest import running

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CONFIG: Final = UpConfig(agents=1, agent_resources="cpus:4;mem:4096", containerizer="process", flower=False)
LARGE: Final = {"mesolite": {"cpus": 3.5, "mem": "256MiB"}}
#: What holds the room is none of the workers that make room.
ROUTES: Final = '[[route]]\ntask = "parity.held"\nisolation = "task"\ncpus = 1\nmem = "256MiB"\n'
#: More than Celery is given at first (`-c` times four).
MANY_LARGE: Final = 200
SMALL: Final = 300
#: A gate is waited at for thirty seconds; the rest is for a slow machine.
SOON_S: Final = 60.0


@pytest.fixture
def client(redis_url: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of a dispatcher on a cluster of its own."""
    url = urlsplit(redis_url)._replace(path="/13").geturl()
    redis.Redis.from_url(url).flushdb()
    with running(tmp_path_factory.mktemp("cluster"), CONFIG) as cluster:
        server = MesoliteCelery("sharing", tmp_path_factory.mktemp("server"), broker=url, backend=url, board=url)
        routes = tmp_path / "routes.toml"
        routes.write_text(ROUTES)
        server.begin(cluster.home, "-c", "20", "--routes", str(routes))
        made = server.client()
        server.wait_until_up(made.app)
        yield made
        made.close()
        server.stop()


def ended(results: list[Any]) -> int:
    """How many have succeeded."""
    return sum(result.state == "SUCCESS" for result in results)


def test_tasks_that_wait_for_room_hold_up_nobody_behind_them_and_run_when_there_is_room(client: Client) -> None:
    """Method: a task in a container of its own keeps a CPU while a gate is shut, so that none of the large ones fits."""
    client.app.set_current()
    held = gates.held.delay("gate")
    eventually(lambda: client.board.llen("parity:waiting:gate"), within_s=SOON_S)
    large = [plain.add.apply_async((1, 1), headers=LARGE) for _ in range(MANY_LARGE)]
    small = [plain.add.delay(1, 1) for _ in range(SMALL)]

    eventually(lambda: ended(small) == SMALL, within_s=SOON_S)
    assert ended(large) == 0
    assert held.state != "SUCCESS", "the machine is too slow for this test: nobody waits at a gate for longer"

    client.board.rpush("parity:open:gate", "open")
    eventually(lambda: ended(large) == MANY_LARGE, within_s=SOON_S)
