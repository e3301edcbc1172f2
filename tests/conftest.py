"""What tests of every folder may ask for: a real Redis, a cluster of their own in it, a Docker Engine.

In CI nothing is skipped quietly: whatever a test there needs is there, so a skip fails the run.
"""

import gc
import os
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import count
from typing import Final

import docker
import docker.errors
import pytest
from hypothesis import HealthCheck, settings
from requests.exceptions import RequestException

from mesolite.embedded_redis import EmbeddedRedis

IN_CI: Final = os.environ.get("CI", "").lower() in {"1", "true"} or "MESOLITE_CI" in os.environ
_DOCKER_TIMEOUT_S: Final = 5
_ENGINE_HANGS_AFTER_S: Final = 30
#: What a run exits with whose Docker Engine hangs (EX_TEMPFAIL of sysexits.h); scripts/test knows it.
ENGINE_HANGS: Final = 75

_clusters = count(1)

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("any machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """Let go of what libraries' clients left open to servers that have ended: no test is left to be blamed for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis for the whole session; with xdist one for each worker. Tests share it and keep apart by `cluster`."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def cluster() -> str:
    """The name of a cluster that no other test of this session uses."""
    return f"test-{next(_clusters)}"


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerClient]:
    """A Docker Engine that answers, or a skip that says why none does."""
    try:
        client = docker.from_env(timeout=_DOCKER_TIMEOUT_S)
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker Engine: {error}")
    try:
        client.ping()
    except (docker.errors.DockerException, RequestException, OSError) as error:
        client.close()
        pytest.skip(f"no Docker Engine: {error}")
    yield client
    client.close()


@pytest.fixture(autouse=True)
def engine_still_answers(request: pytest.FixtureRequest) -> None:
    """End the run where the Docker Engine, which answered at the beginning, hangs: every test after it would wait in vain.

    Engine 20.10 can lock up when containers end at the same moment: libnetwork takes its controller's and its network's lock
    in one order in `processEndpointDelete` and in the other in `getSvcRecords`. scripts/test starts it anew and tries again.
    """
    if request.node.get_closest_marker("docker") is None:
        return
    request.getfixturevalue("docker_engine")
    try:
        with closing(docker.APIClient(timeout=_ENGINE_HANGS_AFTER_S)) as client:
            client.networks()
    except (docker.errors.DockerException, RequestException, OSError) as error:
        pytest.exit(f"the Docker Engine hangs: {error}", returncode=ENGINE_HANGS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure in CI; an expected failure is none."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be missing: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be missing: {report.longrepr}"
    return report
