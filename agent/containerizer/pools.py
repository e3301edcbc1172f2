"""What both real containerizers do with their thread pools."""

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeAlias

from mesolite.logs import get_logger

#: Where a launch failed (contract.ContainerLaunchFailed).
Stage: TypeAlias = Literal["fetch", "image", "start"]

_log = get_logger("mesolite.agent")


def submit(pool: ThreadPoolExecutor, work: Callable[..., None], *arguments: object) -> None:
    """Run work in a pool, if that is not closed meanwhile."""
    with contextlib.suppress(RuntimeError):
        pool.submit(work, *arguments).add_done_callback(_report_bug)


def _report_bug(future: "Future[None]") -> None:
    """Log what a job raised: nobody asks its future. Jobs handle what can be expected, so this is a bug of ours."""
    if future.cancelled():
        return
    error = future.exception()
    if error is not None:
        _log.error("containerizer_bug", error=repr(error), exc_info=error)
