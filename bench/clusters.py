"""A real cluster for a benchmark: processes of `mesolite up` in a folder of their own, stopped at the end."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from mesolite.cli.processes import stop_process
from mesolite.cli.startup import Startup
from mesolite.config import UpConfig
from mesolite.discovery import ClusterAddress, read_cluster


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
