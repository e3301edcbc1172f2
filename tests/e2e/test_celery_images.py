"""Celery tasks in containers of an image that has Celery and an application, and of one that has neither."""

import io
import ipaddress
import json
import os
import secrets
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from threading import Event
from uuid import uuid4

import docker
import pytest
from redis import Redis
from redis.exceptions import ConnectionError

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
from tests.integration.celery_rig import APPS, client, meta_of, run_of
from tests.waiting import eventually

from .conftest import Cluster

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.xdist_group("docker"), pytest.mark.timeout(400)]

IMAGE = os.environ.get("MESOLITE_IMAGE", "python:3.11-slim")
PATIENCE_S = 90.0
QUEUE = f"images-{os.getpid()}"
#: Where the application lies in the image.
FOLDER = "/srv/shop"
_DOCKERFILE = f"""FROM {IMAGE}
RUN pip install --quiet --no-cache-dir --break-system-packages 'celery[redis]=={version("celery")}'
COPY parity_tasks.py {FOLDER}/parity_tasks.py
"""


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


@pytest.fixture(scope="module")
def image_with_celery(docker_engine: docker.DockerClient) -> Iterator[str]:
    """The base image with Celery of the dispatcher's version, from the package index, and an application."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, data in (
            ("Dockerfile", _DOCKERFILE.encode()),
            ("parity_tasks.py", (APPS / "parity_tasks.py").read_bytes()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    context.seek(0)
    tag = f"mesolite-celery-{uuid4().hex[:8]}:test"
    docker_engine.images.build(fileobj=context, custom_context=True, tag=tag, network_mode="host", rm=True)
    yield tag
    docker_engine.images.remove(tag, force=True)


@pytest.fixture(scope="module")
def bridge_redis(docker_engine: docker.DockerClient) -> Iterator[str]:
    """The application's own Redis, where containers reach it: at this machine's end of Docker's network."""
    subnet = docker_engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"]
    host, password = str(next(ipaddress.ip_network(subnet).hosts())), secrets.token_hex(16)
    with socket.create_server((host, 0)) as taken:
        port = taken.getsockname()[1]
    arguments = ["--bind", host, "--port", str(port), "--requirepass", password, "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
    url = f"redis://:{password}@{host}:{port}/0"
    try:
        with Redis.from_url(url) as redis:
            eventually(lambda: answers(redis))
        yield url
    finally:
        server.terminate()
        server.wait(10)


def answers(redis: "Redis") -> bool:
    """Whether the server is up."""
    try:
        return bool(redis.ping())
    except ConnectionError:
        return False


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
    settings = WarmSettings(name="celery", kind=kind(IMAGE), max_workers=2, environment=environment)
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
    task = sent(bridge_redis, IMAGE, "parity.add", 1, 2)
    runner.submit([task])
    report = task.report()
    assert report.kind is ReportKind.NO_APP
    assert "there is no Celery in this container" in report.text
    assert f"pip install 'celery=={version('celery')}'" in report.text
