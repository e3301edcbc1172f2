"""Celery tasks in containers of an image that has Celery and an application, and of one that has neither."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from threading import Event
from uuid import uuid4

import pytest
from redis import Redis

from mesolite.executors.celery import protocol
from mesolite.executors.celery.protocol import ReportKind, TaskReport, TaskRun
from mesolite.executors.python.calls import End, Outcome
from mesolite.executors.python.preload import VARIABLE
from mesolite.frameworks.celery.calls import Ending, Place, TaskOptions
from mesolite.frameworks.celery.task_function import report_of
from mesolite.frameworks.celery.warm import WarmRunner
from mesolite.frameworks.celery.warm_settings import WarmSettings
from mesolite.frameworks.futures.connection import ClusterPlace
from mesolite.frameworks.futures.options import CallOptions, Kind
from mesolite.ids import FrameworkId
from mesolite.protocol import FrameworkInfo
from tests.integration.celery_rig import client, meta_of, run_of

from .celery_image import BASE_IMAGE, FOLDER
from .conftest import Cluster

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.xdist_group("docker"), pytest.mark.timeout(400)]

PATIENCE_S = 90.0
QUEUE = f"images-{os.getpid()}"


@dataclass(eq=False)
class Task:
    """A `TaskCall` that remembers its end."""

    name: str
    run: TaskRun
    options: TaskOptions
    endings: list[Ending] = field(default_factory=list[Ending])
    over: Event = field(default_factory=Event)

    def begun(self, place: Place | None) -> None:
        """See `TaskCall`."""

    def ended(self, ending: Ending, place: Place | None) -> None:
        """See `TaskCall`."""
        self.endings.append(ending)
        self.over.set()

    def report(self) -> TaskReport:
        """Wait for its report."""
        assert self.over.wait(PATIENCE_S), f"{self.name} has not ended"
        (ending,) = self.endings
        assert isinstance(ending, Outcome), ending
        assert ending.end is End.RETURNED, ending
        assert isinstance(ending.payload, bytes)
        return report_of(ending.payload)


@pytest.fixture
def runner(docker_cluster: Cluster, bridge_redis: str) -> Iterator[WarmRunner]:
    address = docker_cluster.address
    info = FrameworkInfo(framework_id=FrameworkId(f"celery-images-{uuid4().hex[:8]}"), name="celery", roles=("*",))
    environment = {
        "PARITY_REDIS": bridge_redis,
        VARIABLE: protocol.PRELOAD_MODULE,
        protocol.APP_VARIABLE: "parity_tasks",
        protocol.PATH_VARIABLE: FOLDER,
        protocol.VERSION_VARIABLE: version("celery"),
        protocol.NODE_VARIABLE: "dispatcher@test",
    }
    settings = WarmSettings(name="celery", kind=kind(BASE_IMAGE), max_workers=2, environment=environment)
    runner = WarmRunner(ClusterPlace(address.redis_url, address.cluster, address.principal), info, settings, print)
    runner.start()
    yield runner
    runner.close(leave_running=False)
    runner.join(20.0)


def kind(image: str) -> Kind:
    """A small task."""
    return CallOptions(cpus=0.5, mem_mib=128, image=image).kind


def sent(url: str, image: str, name: str, *args: object) -> Task:
    """Send a task, and take its message."""
    client(url).send_task(name, args, queue=QUEUE)
    with Redis.from_url(url) as redis:
        message = redis.rpop(QUEUE)
    assert isinstance(message, bytes)
    run = run_of(json.loads(message))
    return Task(f"{run.task_id}.1", run, TaskOptions(kind=kind(image)))


def test_a_task_runs_in_a_container_by_the_celery_of_its_image(
    runner: WarmRunner, bridge_redis: str, image_with_celery: str
) -> None:
    url = bridge_redis
    added = sent(url, image_with_celery, "parity.add", 20, 22)
    where = sent(url, image_with_celery, "parity.where")
    runner.submit([added, where])
    assert (added.report().kind, added.report().text) == (ReportKind.SUCCEEDED, "42")
    assert where.report().kind is ReportKind.SUCCEEDED
    with Redis.from_url(url) as redis:
        assert (meta_of(redis, added.run.task_id) or {})["result"] == 42
        assert (meta_of(redis, where.run.task_id) or {})["result"]["cwd"] == FOLDER
    greedy = sent(url, image_with_celery, "parity.hoard", 400)
    runner.submit([greedy])
    assert greedy.over.wait(PATIENCE_S)
    (ending,) = greedy.endings
    assert isinstance(ending, Outcome)
    assert ending.end is End.OUT_OF_MEMORY
    assert 128 * 2**20 <= ending.limit_bytes <= 200 * 2**20
    assert ending.peak_bytes > ending.limit_bytes // 2


def test_an_image_without_celery_is_said_to_be_that(runner: WarmRunner, bridge_redis: str) -> None:
    task = sent(bridge_redis, BASE_IMAGE, "parity.add", 1, 2)
    runner.submit([task])
    report = task.report()
    assert report.kind is ReportKind.NO_APP
    assert "there is no Celery in this container" in report.text
    assert f"pip install 'celery=={version('celery')}'" in report.text
