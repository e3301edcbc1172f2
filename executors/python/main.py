"""The Python executor as a program: `python BUNDLE` runs `main`.

The zygote is forked before anything else is there, so that workers are copies of as little as possible, and so that zygote and
main import what each needs at the same time. When main ends, however that happens, the zygote ends all workers and itself.
"""

import gc
import os
from pathlib import Path

from .zygote import fork_zygote


def main() -> int:
    """Be the executor that the environment says; return the code to exit with."""
    sandbox = Path(os.environ.get("MESOS_SANDBOX") or Path.cwd()).absolute()
    # Collections on either side would write into what both have, and so copy it.
    gc.freeze()
    zygote = fork_zygote(sandbox)
    # Only now, see above.
    from .program import run

    return run(zygote, sandbox)
