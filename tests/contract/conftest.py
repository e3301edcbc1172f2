"""The stores that contracts are held against: in memory, and a real Redis."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesolite.discovery import ClusterAddress
from mesolite.frameworks.futures import Executor
from mesolite.frameworks.futures.settings import DEFAULT_MAX_RESULT_BYTES
from mesolite.transport import MemoryBroker, MemoryStore, Store, open_store

from .futures_pools import CPUS, MEM_MIB, MakeExecutor, in_process_pool, process_cluster
from .stores import OpenStore


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def another(request: pytest.FixtureRequest, cluster: str) -> Iterator[OpenStore]:
    """Opens one more handle onto the same store: a master, a framework, another thread."""
    broker = MemoryBroker()
    with ExitStack() as opened:

        def open_one() -> Store:
            store: Store
            if request.param == "memory":
                store = MemoryStore(broker)
            else:
                store = open_store(request.getfixturevalue("redis_url"), cluster)
            opened.callback(store.close)
            return store

        yield open_one


@pytest.fixture
def store(another: OpenStore) -> Store:
    return another()


@pytest.fixture(scope="session")
def process_cluster_address() -> Iterator[ClusterAddress]:
    """A cluster for all tests of one process: executors leave nothing behind on it."""
    with process_cluster() as address:
        yield address


@pytest.fixture(scope="session")
def process_cluster_url(process_cluster_address: ClusterAddress) -> str:
    """Its Redis."""
    return process_cluster_address.redis_url


@pytest.fixture(
    params=[
        "threads",
        pytest.param("coarse", marks=pytest.mark.redis),
        pytest.param("fine", marks=pytest.mark.redis),
    ]
)
def make_executor(request: pytest.FixtureRequest) -> Iterator[MakeExecutor]:
    """Makes executors on the pool in question."""
    with ExitStack() as opened:

        def make(**options: Any) -> Executor:
            if request.param == "threads":
                workers = options.get("max_workers") or 2
                most = options.get("max_result_bytes", DEFAULT_MAX_RESULT_BYTES)
                executor = Executor(**options, backend=partial(in_process_pool, workers, most))
            else:
                url: str = request.getfixturevalue("process_cluster_url")
                executor = Executor(url, mode=request.param, cpus=CPUS, mem_mib=MEM_MIB, **options)
            # Not the executor itself: that somebody lets go of it is among what is tested.
            session = executor._session  # pyright: ignore[reportPrivateUsage]
            opened.callback(session.shutdown, wait=False, cancel_futures=True)
            return executor

        yield make


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A folder that workers can look into, whoever they are."""
    with tempfile.TemporaryDirectory(prefix="mesolite-open-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def executor(make_executor: MakeExecutor) -> Executor:
    """One with two workers."""
    return make_executor(max_workers=2)
