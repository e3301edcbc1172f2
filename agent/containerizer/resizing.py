"""Who gets new limits next: one change at a time for each container, and of several wishes the newest.

Setting limits may take the kernel a while (memory is taken back first), and tasks come and go faster than that. What was
overtaken by a newer word is not done at all.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeAlias

from mesolite.ids import ContainerId

from .contract import ContainerResizeFailed, EventSink
from .pools import submit

#: Neither launches nor kills wait for a change of limits; two at once, because one may wait for memory to be taken back.
_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class NewLimits:
    """What a container is to have from now on (units as in `ContainerSpec`)."""

    cpus_milli: int
    mem_mib: int


#: Sets limits, and returns why it could not; empty where it could, or where the container is over. In a pool's thread.
SetLimits: TypeAlias = Callable[[ContainerId, NewLimits], str]


class Resizer:
    """Keeps the wishes and has them done."""

    def __init__(self, set_limits: SetLimits, sink: EventSink) -> None:
        self._set_limits: Final = set_limits
        self._sink: Final = sink
        self._lock: Final = threading.Lock()
        #: The newest wish of each container that was not begun.
        self._wishes: Final[dict[ContainerId, NewLimits]] = {}
        #: Containers that a thread is busy with.
        self._busy: Final[set[ContainerId]] = set()
        self._pool: Final = ThreadPoolExecutor(_THREADS, thread_name_prefix="container-resize")

    def ask(self, container_id: ContainerId, limits: NewLimits, *, running: bool) -> None:
        """Remember a wish, and begin where the container runs; else `started` does."""
        with self._lock:
            self._wishes[container_id] = limits
        if running:
            self.started(container_id)

    def started(self, container_id: ContainerId) -> None:
        """It runs from now on: do what was asked meanwhile."""
        with self._lock:
            if container_id in self._busy or container_id not in self._wishes:
                return
            self._busy.add(container_id)
        submit(self._pool, self._work, container_id)

    def ended(self, container_id: ContainerId) -> None:
        """It is over: forget what was asked."""
        with self._lock:
            self._wishes.pop(container_id, None)

    def close(self) -> None:
        """Finish what is being done, forget what is queued."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _work(self, container_id: ContainerId) -> None:
        while True:
            with self._lock:
                limits = self._wishes.pop(container_id, None)
                if limits is None:
                    self._busy.discard(container_id)
                    return
            message = self._set_limits(container_id, limits)
            if message:
                self._sink(ContainerResizeFailed(container_id=container_id, message=message))
