"""A real cluster for a benchmark: processes of `mesolite up` in a folder of their own, stopped at the end."""

import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mesolite.cli.processes import stop_process
from mesolite.cli.startup import Startup
from mesolite.config import UpConfig
from mesolite.discovery import ClusterAddress, read_cluster
from mesolite.operator import OperatorClient

_LOOK_EVERY_S: Final = 0.05


@contextmanager
def cluster(config: UpConfig) -> Generator[ClusterAddress]:
    """Start a cluster, and stop all of it afterwards."""
    with tempfile.TemporaryDirectory(prefix="mesolite-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        try:
            yield Startup(home, config, None, say=lambda line: None).run()
        finally:
            address = read_cluster(home)
            for record in reversed(address.processes if address is not None else ()):
                stop_process(record)


def wait_until_idle(master_url: str, *, within_s: float) -> bool:
    """Wait until nothing of any agent is used; False where that does not happen in time."""
    operator = OperatorClient(master_url)
    deadline_s = time.monotonic() + within_s
    while any(any(agent.used.values()) for agent in operator.agents()):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True
