"""What an attempt took: time by the clock, memory as the kernel saw it, and what it counted itself."""

import contextlib
import os
import socket
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..python.memory import peak_bytes
from .task_data import TaskMetrics

if TYPE_CHECKING:
    from .task import Task

#: Written to clear_refs, this lets the kernel's peak begin anew from what is resident now (proc(5)).
_RESET_PEAK: Final = b"5"


class Measures:
    """Begins with the attempt.

    Args:
        alone: The attempt is the only one in its process, so that the process's memory is its own.
        bare_bytes: What the process held before there were tasks; not counted, as it is not against the limit.
    """

    def __init__(self, *, alone: bool, bare_bytes: int = 0) -> None:
        self._alone: Final = alone
        self._bare_bytes: Final = bare_bytes
        self._began_ms: Final = time.time_ns() // 1_000_000
        self._began: Final = time.perf_counter()
        if alone:
            _reset_peak()

    def metrics(self, task: "Task") -> TaskMetrics:
        """What came of it up to now."""
        counters = task.counters
        return TaskMetrics(
            host=_host(),
            agent_id=task.blocks.agent_id,
            began_ms=self._began_ms,
            run_ms=round((time.perf_counter() - self._began) * 1000, 3),
            fetch_wait_ms=counters.fetch_wait_ms,
            items_in=counters.items_in,
            shuffle_read_bytes=counters.shuffle_read_bytes,
            shuffle_read_remote_bytes=counters.shuffle_read_remote_bytes,
            shuffle_write_bytes=counters.shuffle_write_bytes,
            shuffle_write_items=counters.shuffle_write_items,
            spilled_bytes=counters.spilled_bytes,
            peak_memory_bytes=max(0, peak_bytes(os.getpid()) - self._bare_bytes) if self._alone else 0,
            memory_limit_bytes=task.spec.memory_limit_bytes,
            cache_hits=counters.cache_hits,
        )


def _reset_peak() -> None:
    # Some containers do not let it be written: then the peak is of all tasks of the worker so far.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_bytes(_RESET_PEAK)


@cache
def _host() -> str:
    return socket.gethostname()
