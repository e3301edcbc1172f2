"""The pools that the contract of executors is held against."""

from typing import Any, Protocol

from mesolite.frameworks.futures import BackendListener, Executor, InProcessPool


class MakeExecutor(Protocol):
    """Makes an executor on one pool; what it leaves open is closed after the test."""

    def __call__(self, **options: Any) -> Executor:
        """As `Executor`."""
        ...


def in_process_pool(workers: int, max_result_bytes: int, listener: BackendListener) -> InProcessPool:
    """A pool of threads, which has nothing to say beside how calls end."""
    return InProcessPool(workers, max_result_bytes)
