"""The pools that the contract of executors is held against."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from mesolite.cli.cluster import TEARDOWN_WAIT_S, end_frameworks
from mesolite.cli.processes import stop_process
from mesolite.cli.startup import Startup
from mesolite.config import UpConfig
from mesolite.discovery import ClusterAddress, read_cluster
from mesolite.frameworks.futures import BackendListener, Executor, InProcessPool
from mesolite.operator import OperatorClient

#: What a worker, or a call, gets in these tests: NumPy and scikit-learn are imported in some. Each agent holds several. A
#: whole CPU, because an executor runs as many calls at a time as it has of them.
CPUS = 1.0
MEM_MIB = 320


class MakeExecutor(Protocol):
    """Makes an executor on one pool; what it leaves open is closed after the test."""

    def __call__(self, **options: Any) -> Executor:
        """As `Executor`."""
        ...


def in_process_pool(workers: int, max_result_bytes: int, listener: BackendListener) -> InProcessPool:
    """A pool of threads, which has nothing to say beside how calls end."""
    return InProcessPool(workers, max_result_bytes)


@contextmanager
def process_cluster(settings: str = "", *, agents: int = 2) -> Generator[ClusterAddress]:
    """A cluster of processes with agents that run plain processes.

    Args:
        settings: A settings file of its processes.
        agents: How many, of four CPUs each.
    """
    config = UpConfig(agents=agents, agent_resources="cpus:4;mem:4096", containerizer="process", flower=False)
    with tempfile.TemporaryDirectory(prefix="mesolite-futures-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        config_file = home / "mesolite.toml"
        config_file.write_text(settings)
        try:
            yield Startup(home, config, config_file, say=lambda line: None).run()
        finally:
            address = read_cluster(home)
            if address is not None:
                # An executor outlives its agent.
                assert end_frameworks(OperatorClient(address.master_url), within_s=TEARDOWN_WAIT_S) == []
            for record in reversed(address.processes if address is not None else ()):
                stop_process(record)
