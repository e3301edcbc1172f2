"""A pretended executor of the local backend: threads that run tasks as worker processes would."""

import pickle
import threading
from collections import deque
from pathlib import Path
from typing import Any, Final, Protocol

from mesolite.executors.python.calls import PICKLE_PROTOCOL
from mesolite.executors.python.explain import explain
from mesolite.executors.sparklite.directory_blocks import DirectoryBlocks
from mesolite.executors.sparklite.stage_runner import StageRunner
from mesolite.executors.sparklite.task_data import TaskSpec
from mesolite.executors.sparklite.worker_state import WorkerState

from ..futures.pickling import dumps
from . import stage_function
from .backend import Ending, Failed, Launch, Lost
from .errors import TaskError
from .task_endings import failed_by

#: Stages whose functions a worker holds unpickled; the longest unused are unpickled again.
_MAX_RUNNERS: Final = 64


class ExecutorOwner(Protocol):
    """Who hears of an executor's tasks, from its threads."""

    def tell_began(self, task_id: int) -> None:
        """It began."""
        ...

    def tell_ended(self, task_id: int, ending: Ending) -> None:
        """It ended, once."""
        ...


class LocalAgent:
    """A directory that stands for an agent's block store."""

    def __init__(self, agent_id: str, directory: Path) -> None:
        self.agent_id: Final = agent_id
        self.directory: Final = directory
        self.blocks_directory: Final = directory / "blocks"
        self.blocks: Final = DirectoryBlocks(self.blocks_directory, agent_id)


class LocalExecutor:
    """Some worker threads of one pretended agent."""

    def __init__(self, owner: "ExecutorOwner", executor_id: str, agent: LocalAgent, workers: int) -> None:
        self.executor_id: Final = executor_id
        self.agent: Final = agent
        self.workers: Final = workers
        self._owner: Final = owner
        self._changed: Final = threading.Condition()
        self._waiting: Final[deque[Launch]] = deque()
        #: Launched, and not ended.
        self._open: Final[set[int]] = set()
        self._begun: Final[set[int]] = set()
        self._over = False
        for number in range(workers):
            threading.Thread(
                target=self._work, args=(self._state_of(number),), name=f"sparklite {executor_id}-{number}", daemon=True
            ).start()

    def launch(self, launch: Launch) -> bool:
        """Take a task; False where the executor is over."""
        with self._changed:
            if not self._over:
                self._waiting.append(launch)
                self._open.add(launch.spec.task_id)
                self._changed.notify()
            return not self._over

    def cancel(self, task_id: int) -> None:
        """Let a task be over, where it is one of these."""
        with self._changed:
            begun = task_id in self._begun
        self._end(task_id, Lost(begun=begun, reason="it was cancelled"))

    def end(self, reason: str) -> None:
        """Be over, with all tasks."""
        with self._changed:
            self._over = True
            self._waiting.clear()
            lost = {task_id: task_id in self._begun for task_id in sorted(self._open)}
            self._changed.notify_all()
        for task_id, begun in lost.items():
            self._end(task_id, Lost(begun=begun, reason=reason))

    def _end(self, task_id: int, ending: Ending) -> None:
        with self._changed:
            if task_id not in self._open:
                return
            self._open.discard(task_id)
            self._begun.discard(task_id)
        self._owner.tell_ended(task_id, ending)

    def _state_of(self, number: int) -> WorkerState:
        """What a worker keeps. Made before its thread begins: by then the context may be stopped and its directory gone."""
        directory = self.agent.directory / self.executor_id / f"worker-{number}"
        return WorkerState(DirectoryBlocks(self.agent.blocks_directory, self.agent.agent_id), directory)

    def _work(self, state: WorkerState) -> None:
        runners: dict[bytes, StageRunner] = {}
        while (launch := self._next()) is not None:
            pickled = launch.code.pickled
            known = runners.pop(pickled) if pickled in runners else None
            runner = runners[pickled] = known or StageRunner(pickled)
            if len(runners) > _MAX_RUNNERS:
                del runners[next(iter(runners))]
            self._end(launch.spec.task_id, _run(runner, launch.spec, state))

    def _next(self) -> Launch | None:
        """The next task that is still wanted; None at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._over)
                if self._over:
                    return None
                launch = self._waiting.popleft()
                if launch.spec.task_id in self._open:
                    self._begun.add(launch.spec.task_id)
                    break
        self._owner.tell_began(launch.spec.task_id)
        return launch


def _run(runner: StageRunner, sent: TaskSpec, state: WorkerState) -> Ending:
    """Run a task as a worker would: what comes in and what goes out is pickled and unpickled."""
    try:
        (spec,), _ = pickle.loads(stage_function.arguments(sent))
        value: object = runner.run(spec, state)
    # Whatever a user's function raises, `SystemExit` included, is its own end and not the worker's.
    except BaseException as error:  # noqa: BLE001
        return failed_by(error)
    try:
        data = _pickled(value)
        return stage_function.result(pickle.loads(data), len(data))
    # As above: a `__reduce__` of the user's may raise whatever it likes.
    except Exception as error:  # noqa: BLE001
        failed = TaskError(f"cannot be pickled: {explain(value, 'result', dumps)}")
        failed.__cause__ = error
        return Failed(error=failed, fatal=True)


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, PICKLE_PROTOCOL)
    # What plain pickle cannot do is for cloudpickle to say.
    except Exception:  # noqa: BLE001
        return dumps(value)
