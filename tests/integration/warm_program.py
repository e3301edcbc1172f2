"""A dispatcher's process with a warm runner, for tests that kill it.

python -m tests.integration.warm_program URL CLUSTER PRINCIPAL FOLDER FRAMEWORK_ID MAX_WORKERS WHAT=NAME ...
"""

import sys
import threading
from pathlib import Path

from mesolite.frameworks.futures.connection import ClusterPlace

from .warm_rig import WarmRig


def main(url: str, cluster: str, principal: str, folder: str, framework_id: str, max_workers: str, *tasks: str) -> None:
    """Submit the tasks, and stay until killed."""
    rig = WarmRig(ClusterPlace(url, cluster, principal), Path(folder), framework_id)
    runner = rig.runner(max_workers=int(max_workers))
    pairs = [task.partition("=") for task in tasks]
    runner.submit([rig.task(what, name=name) for what, _, name in pairs])
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
