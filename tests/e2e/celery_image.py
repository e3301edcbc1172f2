"""An image with Celery and an application, and a Redis that its containers reach."""

import io
import ipaddress
import os
import secrets
import socket
import subprocess
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final
from uuid import uuid4

import docker
from redis import Redis
from redis.exceptions import ConnectionError

from tests.integration.celery_rig import APPS
from tests.waiting import eventually

#: What it is made from, without Celery.
BASE_IMAGE: Final = os.environ.get("MESOLITE_IMAGE", "python:3.11-slim")
#: Where the application lies in the image.
FOLDER: Final = "/srv/shop"
_DOCKERFILE: Final = f"""FROM {BASE_IMAGE}
RUN pip install --quiet --no-cache-dir --break-system-packages 'celery[redis]=={version("celery")}'
COPY parity_tasks.py {FOLDER}/parity_tasks.py
"""


@contextmanager
def built_image(engine: docker.DockerClient) -> Generator[str]:
    """Build the base image with Celery of the dispatcher's version, from the package index, and an application."""
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
    engine.images.build(fileobj=context, custom_context=True, tag=tag, network_mode="host", rm=True)
    try:
        yield tag
    finally:
        engine.images.remove(tag, force=True)


@contextmanager
def redis_on_bridge(engine: docker.DockerClient) -> Generator[str]:
    """Run the application's own Redis where containers reach it: at this machine's end of Docker's network."""
    subnet = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"]
    host, password = str(next(ipaddress.ip_network(subnet).hosts())), secrets.token_hex(16)
    with socket.create_server((host, 0)) as taken:
        port = taken.getsockname()[1]
    arguments = ["--bind", host, "--port", str(port), "--requirepass", password, "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
    url = f"redis://:{password}@{host}:{port}/0"
    try:
        with Redis.from_url(url) as redis:
            eventually(lambda: _answers(redis))
        yield url
    finally:
        server.terminate()
        server.wait(10)


def _answers(redis: "Redis") -> bool:
    try:
        return bool(redis.ping())
    except ConnectionError:
        return False
