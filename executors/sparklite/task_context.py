"""`TaskContext` and `BarrierTaskContext`: what a user's function may ask about the task that it runs in.

A barrier stage's tasks run together, and meet in rounds (barrier_round.py).
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from . import current
from .barrier_round import meet

if TYPE_CHECKING:
    from .task import Task


class TaskContext:
    """See `pyspark.TaskContext`. To be had by `TaskContext.get()`, inside of functions that workers run."""

    def __init__(self, task: "Task") -> None:
        self._task: Final = task

    @classmethod
    def get(cls) -> "TaskContext | None":
        """Return the context of the task that runs here; None on the driver."""
        task = current.task()
        return None if task is None else context_of(task)

    def stageId(self) -> int:
        """Return the number of the stage."""
        return self._task.spec.stage_id

    def partitionId(self) -> int:
        """Return the number of the partition that the task makes."""
        return self._task.spec.partition

    def attemptNumber(self) -> int:
        """Return how often this partition was tried before."""
        return self._task.spec.attempt

    def taskAttemptId(self) -> int:
        """Return a number that no other attempt at any task of the application has."""
        return self._task.spec.task_id

    def getLocalProperty(self, key: str) -> str | None:
        """Return what the driver's thread had set by `SparkContext.setLocalProperty` when it submitted the job; None: nothing."""
        return self._task.spec.properties.get(key)

    def cpus(self) -> int:
        """Return how many processors the task has: one, as each worker runs one task."""
        return 1

    def cpuAmount(self) -> Decimal:
        """Return `cpus` exactly."""
        return Decimal(1)

    def resources(self) -> dict[str, Any]:
        """Return resources by name besides processors and memory. Mesolite has none."""
        return {}


class BarrierTaskInfo:
    """See `pyspark.BarrierTaskInfo`: a task of a barrier stage."""

    def __init__(self, address: str) -> None:
        #: Where it runs: HOST:PORT, of the block store of its agent.
        self.address: Final = address


class BarrierTaskContext(TaskContext):
    """See `pyspark.BarrierTaskContext`: the context in stages of `RDD.barrier()`."""

    def __init__(self, task: "Task") -> None:
        super().__init__(task)
        self._rounds = 0

    @classmethod
    def get(cls) -> "BarrierTaskContext":
        """Return the context of the task that runs here.

        Raises:
            RuntimeError: This is no task of a barrier stage.
        """
        context = TaskContext.get()
        if not isinstance(context, BarrierTaskContext):
            raise RuntimeError("It is not in a barrier stage: only functions under RDD.barrier() have this context")
        return context

    def barrier(self) -> None:
        """Wait until all tasks of the stage have come here. All must call it equally often.

        Raises:
            TimeoutError: Some task did not come in time.
        """
        self.allGather()

    def allGather(self, message: str = "") -> list[str]:
        """As `barrier`; returns the messages of all tasks, in order of their partitions."""
        self._rounds += 1
        return meet(self._task, self._rounds, message)

    def getTaskInfos(self) -> list[BarrierTaskInfo]:
        """Return where the stage's tasks run, in order of partitions."""
        return [BarrierTaskInfo(place.address) for place in self._task.spec.barrier]


def context_of(task: "Task") -> TaskContext:
    """Return a task's one context."""
    if task.context is None:
        task.context = BarrierTaskContext(task) if task.spec.barrier else TaskContext(task)
    return task.context
