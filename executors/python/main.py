"""The Python executor as a program: `python BUNDLE` runs `main`. One thread, which runs no code of users.

The zygote is forked before anything else is there, so that workers are copies of as little as possible. When this process ends,
however that happens, the zygote ends all workers.
"""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..driver.errors import NoAgent
from ..driver.executor import ExecutorDriver
from ..driver.loop import Loop
from ..driver.protocol import MAX_DATA_BYTES, Subscribed
from .blocks import Blocks
from .executor import Parts, PoolEnd, PythonExecutor
from .pool import Pool, PoolPlace
from .runner import Runner
from .settings import PythonSettings
from .wire import MAX_INLINE_BYTES, Hello
from .worker import Limits
from .zygote import Zygote, fork_zygote

#: What the head of an outcome takes of an update's data, and more.
_UPDATE_MARGIN_BYTES: Final = 64 * 1024
_EXIT_NO_AGENT: Final = 1


def main() -> int:
    """Be the executor that the environment says; return the code to exit with."""
    sandbox = Path(os.environ.get("MESOS_SANDBOX") or Path.cwd()).absolute()
    zygote = fork_zygote(sandbox)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    loop = Loop()
    builder = _Builder(loop, zygote, sandbox)
    try:
        return ExecutorDriver(PythonExecutor(loop, builder.build), loop=loop).run()
    except NoAgent as error:
        sys.stderr.write(f"mesolite: {error}\n")
        return _EXIT_NO_AGENT
    finally:
        builder.close()
        loop.close()


class _Builder:
    """Makes runner and pool once the framework's wishes are known."""

    def __init__(self, loop: Loop, zygote: Zygote, sandbox: Path) -> None:
        self._loop: Final = loop
        self._zygote: Final = zygote
        self._sandbox: Final = sandbox
        self._runner: Runner | None = None

    def build(self, subscribed: Subscribed, settings: PythonSettings, changed: Callable[[], None]) -> Parts:
        """Make them."""
        log = logging.getLogger("mesolite.executor").warning
        inline_bytes = MAX_INLINE_BYTES if settings.pool is not None else MAX_DATA_BYTES - _UPDATE_MARGIN_BYTES
        runner = self._runner = Runner(
            self._loop,
            self._zygote,
            self._sandbox,
            Limits(settings.max_result_bytes, min(inline_bytes, settings.max_result_bytes)),
            mem_bytes_per_worker=settings.mem_bytes_per_worker,
            changed=changed,
            log=log,
        )
        pool = self._pool(subscribed, settings, runner, log) if settings.pool is not None else None
        return Parts(runner=runner, pool=pool)

    def _pool(
        self, subscribed: Subscribed, settings: PythonSettings, runner: Runner, log: Callable[[str], None]
    ) -> PoolEnd:
        sockets = Path(os.environ["MESOLITE_SOCKETS"])
        # Through a descriptor: the path may be longer than the address of a socket may be.
        fd = os.open(sockets, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
        blocks_url, blocks_token = Blocks(sockets).public_place()
        place = PoolPlace(
            framework_id=subscribed.framework_id,
            hello=Hello(
                executor_id=subscribed.executor_id,
                agent_id=subscribed.agent_id,
                container_id=subscribed.container_id,
                python=settings.python,
                workers=0,
                blocks_url=blocks_url,
                blocks_token=blocks_token,
            ),
            door_path=f"/proc/self/fd/{fd}/redis.sock",
            log=log,
        )
        pool = Pool(self._loop, runner, place)
        pool.start()
        return pool

    def close(self) -> None:
        """End all workers."""
        if self._runner is not None:
            self._runner.close()
        else:
            self._zygote.socket.close()


if __name__ == "__main__":
    sys.exit(main())
