"""Memory of calls in a real container: our own limit is told with its peak, and the kernel's is told from any other death."""

import os
from pathlib import Path

import docker
import pytest

from mesolite.agent.bundle import assemble_bundle
from mesolite.executors.python.memory import container_limit_bytes, oom_kills, peak_bytes, resident_bytes
from tests.contract.containerizer_hosts import IMAGE

CONTAINER_BYTES = 200 * 1024 * 1024
PROGRAM = Path(__file__).with_name("hoarding_program.py")


def ends_of(engine: docker.DockerClient, bundle: Path, bytes_per_worker: int) -> dict[str, list[str]]:
    """How the calls of the program ended: name, end, limit, message."""
    output: bytes = engine.containers.run(
        IMAGE,
        ["python3", "/program.py", "/bundle", str(bytes_per_worker)],
        volumes={str(bundle): {"bind": "/bundle", "mode": "ro"}, str(PROGRAM): {"bind": "/program.py", "mode": "ro"}},
        mem_limit=CONTAINER_BYTES,
        memswap_limit=CONTAINER_BYTES,
        remove=True,
    )
    return {line.split()[0]: line.split(maxsplit=3) for line in output.decode().splitlines()}


@pytest.mark.docker
@pytest.mark.parametrize(
    ("bytes_per_worker", "limit_bytes", "said"),
    [
        (60 * 1024 * 1024, 60 * 1024 * 1024, "60 MiB are allowed"),
        (1 << 40, CONTAINER_BYTES, "the kernel ended the worker"),
    ],
)
def test_a_call_that_hoards_memory_is_told_what_ended_it_and_its_neighbours_return(
    tmp_path: Path, docker_engine: docker.DockerClient, bytes_per_worker: int, limit_bytes: int, said: str
) -> None:
    ends = ends_of(docker_engine, assemble_bundle(tmp_path), bytes_per_worker)
    _, end, limit, message = ends.pop("hoard")
    assert (end, int(limit)) == ("OUT_OF_MEMORY", limit_bytes)
    assert said in message
    assert {each[1] for each in ends.values()} == {"RETURNED"}
    assert len(ends) == 20


def test_what_processes_use_is_read_and_what_cannot_be_read_is_nothing() -> None:
    assert 0 < resident_bytes(os.getpid()) <= peak_bytes(os.getpid())
    nobody = 2**22 + 1  # above the greatest process id that Linux gives out
    assert (resident_bytes(nobody), peak_bytes(nobody)) == (0, 0)
    assert container_limit_bytes() >= 0
    assert oom_kills() >= 0
