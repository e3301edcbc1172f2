"""The main process: agent, pool and workers on one loop, in one thread, which runs no code of users."""

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from ..driver.errors import NoAgent
from ..driver.executor import ExecutorDriver
from ..driver.loop import Loop
from ..driver.protocol import MAX_DATA_BYTES, Subscribed
from .block_place import SOCKET_NAME, public_place
from .executor import Parts, PoolEnd, PythonExecutor
from .limits import Limits
from .pool import Pool, PoolPlace
from .preload import wanted
from .runner import Runner
from .settings import PythonSettings
from .wire import MAX_INLINE_BYTES, Hello
from .zygote import Zygote

#: What the head of an outcome takes of an update's data, and more.
_UPDATE_MARGIN_BYTES: Final = 64 * 1024
_EXIT_NO_AGENT: Final = 1


def run(zygote: Zygote, sandbox: Path) -> int:
    """Be the executor that the environment says; return the code to exit with.

    Args:
        zygote: Forked before.
        sandbox: Where everything happens.
    """
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
            chunk_us=settings.chunk_us,
            shown_as=f"{subscribed.framework_id}/{subscribed.executor_id}",
            preloads=bool(wanted()),
            changed=changed,
            log=log,
        )
        # Through a descriptor: the path may be longer than the address of a socket may be.
        sockets = os.environ.get("MESOLITE_SOCKETS", ".")
        fd = os.open(sockets, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
        through = Path(f"/proc/self/fd/{fd}")
        pool = self._pool(subscribed, settings, runner, through) if settings.pool is not None else None
        return Parts(runner=runner, pool=pool, store=partial(public_place, through / SOCKET_NAME))

    def _pool(self, subscribed: Subscribed, settings: PythonSettings, runner: Runner, sockets: Path) -> PoolEnd:
        blocks_url, blocks_token = public_place(sockets / SOCKET_NAME)
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
            door_path=str(sockets / "redis.sock"),
            log=logging.getLogger("mesolite.executor").warning,
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
