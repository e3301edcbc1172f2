"""An executor of a pool as a process of its own, without an agent: runner, workers, and its end of the pool.

python -m tests.integration.pool_program DOOR FRAMEWORK EXECUTOR SESSION WORKERS SANDBOX [BLOCKS_URL BLOCKS_TOKEN]
"""

import sys
from pathlib import Path

from mesolite.executors.driver.loop import Loop
from mesolite.executors.python.limits import Limits
from mesolite.executors.python.pool import Pool, PoolPlace
from mesolite.executors.python.runner import Runner
from mesolite.executors.python.wire import MAX_INLINE_BYTES, Hello
from mesolite.executors.python.zygote import fork_zygote


def say(text: str) -> None:
    """For whoever reads the log of a test."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main(
    door: str, framework_id: str, executor_id: str, session: str, workers: str, sandbox: str, *blocks: str
) -> None:
    """Serve until killed."""
    zygote = fork_zygote(Path(sandbox))
    loop = Loop()
    runner = Runner(loop, zygote, Path(sandbox), Limits(MAX_INLINE_BYTES, MAX_INLINE_BYTES), log=say)
    runner.resize(int(workers))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    blocks_url, blocks_token = blocks or ("", "")
    hello = Hello(executor_id, "agent", session, python, int(workers), blocks_url, blocks_token)
    Pool(loop, runner, PoolPlace(framework_id=framework_id, hello=hello, door_path=door, log=say)).start()
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
