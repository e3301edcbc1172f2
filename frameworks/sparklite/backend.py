"""What runs tasks: executors on a cluster (`cluster_backend.py`), or this process (`local_backend.py`).

Both pass one contract suite.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from mesolite.executors.python.calls import Function
from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.task_data import TaskDone, TaskMissed, TaskSpec

from .errors import TaskError
from .stage_function import function_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One task for one executor."""

    executor_id: str
    spec: TaskSpec
    #: The same object for all tasks of a stage.
    code: "PickledCode"


@dataclass(frozen=True, eq=False, kw_only=True)
class PickledCode:
    """A stage's code as it is sent: pickled once for each stage."""

    stage_id: int
    #: See `stage_function.pickled`.
    pickled: bytes

    @cached_property
    def function(self) -> Function:
        """As the function of a call."""
        return function_of(self.pickled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The task ended without `TaskDone`: the function raised, or its worker died under it."""

    error: TaskError
    #: Trying again makes no sense.
    fatal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The executor is over, or refused the task."""

    begun: bool
    reason: str


Ending = TaskDone | TaskMissed | Failed | Lost


class BackendListener(Protocol):
    """Hears from a backend, from any thread; must return soon and may call the backend."""

    def executor_changed(self, executor_id: str, agent_id: str, host: str, workers: int) -> None:
        """An executor has so many workers."""
        ...

    def executor_over(self, executor_id: str, reason: str) -> None:
        """An executor is gone; each of its tasks ends as `Lost` by itself."""
        ...

    def agent_lost(self, agent_id: str, reason: str) -> None:
        """An agent is gone for good, with its store."""
        ...

    def task_began(self, task_id: int) -> None:
        """A worker has begun it, and it is not short."""
        ...

    def task_ended(self, task_id: int, ending: Ending) -> None:
        """It ended, once."""
        ...

    def refused(self, reason: str) -> None:
        """No executor can be had, now or later: for what was asked the cluster is too small, or nothing starts."""
        ...

    def broke(self, reason: str) -> None:
        """The backend is over."""
        ...


class Backend(Protocol):
    """Executors and their stores. All methods may be called from any thread."""

    @property
    def default_parallelism(self) -> int:
        """Workers that there are or are to be, for `sc.defaultParallelism`; at least 2 on a cluster, as Spark has it."""
        ...

    def start(self, listener: BackendListener) -> None:
        """Begin.

        Raises:
            MesoliteError: There is no cluster.
        """
        ...

    def want(self, tasks: int) -> None:
        """So many tasks run or could run: have as many workers as that and the settings allow."""
        ...

    def launch(self, launches: list[Launch]) -> None:
        """Send tasks; each ends by `task_ended`."""
        ...

    def cancel(self, task_id: int) -> None:
        """End a task, also one that has begun; it may end otherwise first. Unknown ones are ignored."""
        ...

    def block_address(self, executor_id: str) -> str:
        """Return where a block of an executor's agent is found, with `{}` for its name; empty where that is not known."""
        ...

    def put(self, block_id: str, data: bytes) -> StoredBlock:
        """Store what the driver wants all tasks to have (broadcast values, files), where workers can read it.

        Raises:
            SparkError: No store takes it.
        """
        ...

    def read(self, block: StoredBlock) -> bytes:
        """Read a block.

        Raises:
            BlockLost: It cannot be had.
        """
        ...

    def drop(self, blocks: list[StoredBlock]) -> None:
        """Nobody needs these any more; best effort."""
        ...

    def close(self) -> None:
        """End everything: executors go, and blocks with them. Waits until the cluster knows, at most some seconds."""
        ...
