"""What Mesolite adds to Docker: 100 containers of `true` with limits, and one alone, against the bare Docker API.

The peer makes the same containers (same image, limits, mount, user, network) through the Docker SDK: create, start, await,
remove, at its best concurrency. Mesolite's take the whole way: submit, offer, launch, final status.
"""

import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from uuid import uuid4

import docker

from mesolite.agent.containerizer.contract import ContainerSpec
from mesolite.agent.containerizer.docker_config import container_body
from mesolite.agent.containerizer.policy import ContainerPolicy, default_user
from mesolite.config import UpConfig
from mesolite.frameworks import batch
from mesolite.ids import ContainerId

from .clusters import cluster
from .figures import Figure, Outcome, main

CONTAINERS = 100
#: Seen to be the best: 5.4 containers a second one at a time, 9.8 from 8 on.
CONCURRENCY = 8
CPUS = 0.1
MEM_MIB = 32
#: Pairs of one task and one bare container, taken in turn.
PAIRS = 15


class BareDocker:
    """The peer."""

    def __init__(self, image: str, folder: Path) -> None:
        self._client = docker.APIClient(timeout=60, num_pools=CONCURRENCY * 2)
        self._image = image
        self._folder = folder

    def one(self, _: int = 0) -> None:
        name = uuid4().hex
        sandbox = self._folder / name
        sandbox.mkdir()
        sandbox.chmod(0o777)
        spec = ContainerSpec(
            container_id=ContainerId(name),
            argv=("true",),
            environment={},
            sandbox=sandbox,
            cpus_milli=int(CPUS * 1000),
            mem_mib=MEM_MIB,
            image=self._image,
        )
        body = container_body(spec, ContainerPolicy(), default_user(), {"bench": "launch"})
        made = self._client.create_container_from_config(body, name=f"bench-{name}")["Id"]  # type: ignore[no-untyped-call]
        self._client.start(made)
        self._client.wait(made)
        self._client.remove_container(made)

    def many(self) -> float:
        began_s = time.perf_counter()
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            list(pool.map(self.one, range(CONTAINERS)))
        return time.perf_counter() - began_s


def through_mesolite(connection: batch.Cluster, count: int) -> float:
    """Run so many tasks; return the seconds from submit to the last final status."""
    began_s = time.perf_counter()
    job = connection.submit(["true"], count=count, cpus=CPUS, mem_mib=MEM_MIB)
    summary = job.wait(timeout_s=120)
    took_s = time.perf_counter() - began_s
    assert summary.states == {batch.TaskState.FINISHED: count}, summary
    return took_s


def measure(runs: int) -> Outcome:
    """Measure both in turn on one running cluster."""
    image = os.environ.get("MESOLITE_IMAGE", "python:3.11-slim")
    config = UpConfig(agents=1, agent_resources="cpus:64;mem:16384", containerizer="docker", image=image, flower=False)
    with (
        tempfile.TemporaryDirectory(prefix="mesolite-bench-") as folder,
        cluster(config) as address,
        batch.connect(address.redis_url, address.cluster, name="bench") as connection,
    ):
        bare = BareDocker(image, Path(folder))
        bare.one()
        through_mesolite(connection, 1)
        pairs = [(through_mesolite(connection, CONTAINERS), bare.many()) for _ in range(runs)]
        singles = [(through_mesolite(connection, 1), _timed(bare)) for _ in range(PAIRS * runs // 5)]
        version = docker.APIClient().version()["Version"]
    ours_ms = statistics.median(ours for ours, _ in singles) * 1000
    bare_ms = statistics.median(theirs for _, theirs in singles) * 1000
    each = partial(Figure, unit="s")
    return Outcome(
        figures=[
            Figure(
                name="launch: 100 containers, time against bare Docker",
                unit="ratio",
                values=[ours / theirs for ours, theirs in pairs],
                goal=1.15,
            ),
            each(name="  through Mesolite", values=[ours for ours, _ in pairs]),
            each(name="  bare Docker, 8 at a time", values=[theirs for _, theirs in pairs]),
            Figure(name="launch: one task, added latency", unit="ms", values=[ours_ms - bare_ms], goal=15),
            Figure(name="  one task through Mesolite", unit="ms", values=[ours * 1000 for ours, _ in singles]),
            Figure(name="  one bare container", unit="ms", values=[theirs * 1000 for _, theirs in singles]),
        ],
        notes=[
            f"Docker Engine {version}, image {image}, {CPUS} cpus and {MEM_MIB} MiB each",
            f"added latency: the difference of the medians of {len(singles)} pairs taken in turn",
        ],
    )


def _timed(bare: BareDocker) -> float:
    began_s = time.perf_counter()
    bare.one()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main("launch", measure)
