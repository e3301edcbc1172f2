"""Calls in images of other people: one without any Python is said to be that."""

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import docker
import pytest

from mesolite.frameworks.futures import Executor, ImageWithoutPython
from mesolite.frameworks.futures.executor import Mode

from .conftest import Cluster

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.xdist_group("docker"), pytest.mark.timeout(180)]

PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def image_without_python(docker_engine: docker.DockerClient) -> Iterator[str]:
    """This machine's shell with the libraries that it is linked to, and nothing else."""
    shell = os.path.realpath("/bin/sh")
    linked = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True).stdout
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path in ["/bin/sh", *re.findall(r"(/\S+) \(0x", linked)]:
            data = Path(path).read_bytes()
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    name = f"mesolite-shell-{uuid4().hex[:8]}"
    docker_engine.api.import_image_from_data(content.getvalue(), repository=name, tag="test")
    yield f"{name}:test"
    docker_engine.images.remove(f"{name}:test", force=True)


@pytest.mark.parametrize("mode", ["coarse", "fine"])
def test_an_image_without_python_is_named(docker_cluster: Cluster, image_without_python: str, mode: Mode) -> None:
    address = docker_cluster.address
    with Executor(address.redis_url, address.cluster, mode=mode, cpus=0.2, mem_mib=64) as executor:
        with pytest.raises(ImageWithoutPython):
            executor.options(image=image_without_python).submit(pow, 2, 3).result(PATIENCE_S)
        assert executor.submit(pow, 2, 3).result(PATIENCE_S) == 8
