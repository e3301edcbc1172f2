"""What a worker keeps between tasks: persisted partitions as objects, broadcast values, files. For one application at a time."""

import gc
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..python.memory import resident_bytes
from .agent_blocks import AgentBlocks
from .blocks import TaskBlocks
from .broadcast import BroadcastValues, kept_bytes
from .spark_files import FileLost, TaskFiles
from .storage import Storage
from .task import Task
from .task_data import TaskDone, TaskMetrics, TaskMissed, TaskSpec

if TYPE_CHECKING:
    from .stage_runner import StageRunner

#: So many objects come about between two collections of the youngest. Tasks hold pairs by the million, in which no cycle is;
#: with Python's 700 (2,000 from 3.14) more than half of the time of a join went into looking for one. Cycles of users'
#: objects may so wait, with some ten megabytes.
_COLLECTED_AFTER: Final = 100_000


class WorkerState:
    """One worker: a process on a cluster, a thread of the local backend. Runs one task at a time.

    Args:
        blocks: Its way to blocks.
        directory: Where files are put that tasks get; other workers of the same agent may share it.
        alone: It is the only worker of its process.
    """

    def __init__(self, blocks: TaskBlocks, directory: Path, *, alone: bool = False) -> None:
        self._blocks: Final = blocks
        self._directory: Final = directory
        self._alone: Final = alone
        #: What the process held before the first task.
        self._bare_bytes: Final = resident_bytes(os.getpid()) if alone else 0
        self._app_id = ""
        self._begin("")

    def _begin(self, app_id: str) -> None:
        self._app_id = app_id
        self._storage = Storage()
        self._broadcasts = BroadcastValues()
        self._files = TaskFiles(self._directory / f"files-{app_id}")

    def run(self, runner: "StageRunner", spec: TaskSpec) -> TaskDone | TaskMissed:
        """Run a task.

        Raises:
            StageUnreadable: The stage's code cannot be unpickled here.
            Exception: Whatever functions of the user raise.
        """
        if spec.app_id != self._app_id:
            self._begin(spec.app_id)
        self._storage.begin(spec)
        self._broadcasts.begin(spec.dropped_broadcasts, kept_bytes(spec.memory_limit_bytes))
        try:
            self._files.fetch(spec, self._blocks)
        except FileLost as lost:
            return TaskMissed(None, lost.block, lost.reason, TaskMetrics())
        task = Task(
            runner.code(),
            spec,
            self._blocks,
            self._storage,
            self._broadcasts,
            self._files.directory,
            alone=self._alone,
            bare_bytes=self._bare_bytes,
        )
        return task.run()


@cache
def state_of_process() -> WorkerState:
    """Return the state of a worker process, and make the process one of tasks."""
    gc.set_threshold(_COLLECTED_AFTER)
    return WorkerState(AgentBlocks.from_environment(), Path.cwd(), alone=True)
