"""What a worker keeps between tasks: persisted partitions as objects, broadcast values, files. For one application at a time."""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .blocks import TaskBlocks
from .directory_blocks import DirectoryBlocks
from .storage import Storage
from .task import Task
from .task_data import StageCode, TaskDone, TaskMissed, TaskSpec

if TYPE_CHECKING:
    from .stage_runner import StageRunner


class WorkerState:
    """One worker: a process on a cluster, a thread of the local backend. Runs one task at a time.

    Args:
        blocks: Its way to blocks.
        directory: Where files are put that tasks get; other workers may share it.
        alone: It is the only worker of its process.
    """

    def __init__(self, blocks: TaskBlocks, directory: Path, *, alone: bool = False) -> None:
        self._blocks: Final = blocks
        self._directory: Final = directory
        self._alone: Final = alone
        self._app_id = ""
        self._storage = Storage()

    def run(self, runner: "StageRunner", spec: TaskSpec) -> TaskDone | TaskMissed:
        """Run a task.

        Raises:
            StageUnreadable: The stage's code cannot be unpickled here.
            Exception: Whatever functions of the user raise.
        """
        if spec.app_id != self._app_id:
            self._app_id = spec.app_id
            self._storage = Storage()
        return Task(runner.code(), spec, self._blocks, self._storage, alone=self._alone).run()


@cache
def state_of_process() -> WorkerState:
    """Return the state of a worker process."""
    sandbox = Path.cwd()
    blocks = DirectoryBlocks(sandbox / "blocks", os.environ.get("MESOS_AGENT_ID", ""))
    return WorkerState(blocks, sandbox, alone=True)


__all__ = ["StageCode", "WorkerState", "state_of_process"]
