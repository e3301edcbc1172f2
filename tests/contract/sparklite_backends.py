"""What the contract of sparklite's backends is held with: a listener that remembers, and tasks made by hand."""

import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

from mesolite.executors.sparklite.nodes import Numbers, Step
from mesolite.executors.sparklite.results import as_list
from mesolite.executors.sparklite.task import Task
from mesolite.executors.sparklite.task_data import StageCode, TaskDone, TaskSpec
from mesolite.frameworks.sparklite.backend import Backend, Ending, Launch, PickledCode
from mesolite.frameworks.sparklite.stage_function import pickled

PATIENCE_S: Final = 60.0
RDD_ID: Final = 1


class Ear:
    """Remembers what a backend says."""

    def __init__(self) -> None:
        self._changed: Final = threading.Condition()
        #: Executors by id: agent, host and workers.
        self.executors: Final[dict[str, tuple[str, str, int]]] = {}
        self.over: Final[list[str]] = []
        self.lost_agents: Final[list[str]] = []
        self.began: Final[list[int]] = []
        self.endings: Final[dict[int, Ending]] = {}
        self.refusals: Final[list[str]] = []
        self.broken: Final[list[str]] = []

    def executor_changed(self, executor_id: str, agent_id: str, host: str, workers: int) -> None:
        """See `BackendListener`."""
        with self._changed:
            assert executor_id not in self.over, "ids are not used again"
            self.executors[executor_id] = (agent_id, host, workers)
            self._changed.notify_all()

    def executor_over(self, executor_id: str, reason: str) -> None:
        """See `BackendListener`."""
        with self._changed:
            self.executors.pop(executor_id, None)
            self.over.append(executor_id)
            self._changed.notify_all()

    def agent_lost(self, agent_id: str, reason: str) -> None:
        """See `BackendListener`."""
        with self._changed:
            self.lost_agents.append(agent_id)
            self._changed.notify_all()

    def task_began(self, task_id: int) -> None:
        """See `BackendListener`."""
        with self._changed:
            self.began.append(task_id)
            self._changed.notify_all()

    def task_ended(self, task_id: int, ending: Ending) -> None:
        """See `BackendListener`."""
        with self._changed:
            assert task_id not in self.endings, "a task ends once"
            self.endings[task_id] = ending
            self._changed.notify_all()

    def refused(self, reason: str) -> None:
        """See `BackendListener`."""
        with self._changed:
            self.refusals.append(reason)
            self._changed.notify_all()

    def broke(self, reason: str) -> None:
        """See `BackendListener`."""
        with self._changed:
            self.broken.append(reason)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds of what was heard."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), vars(self)


class Rig:
    """A backend with an ear at it, that runs functions as tasks."""

    def __init__(self, backend: Backend) -> None:
        self.backend: Final = backend
        self.ear: Final = Ear()
        self._tasks: Final = count(1)
        self._stages: Final = count(1)

    def start(self) -> str:
        """Begin, and return an executor."""
        self.backend.start(self.ear)
        return self.executor()

    def executor(self) -> str:
        """Return an executor that has a worker, after asking for as many as there may be."""
        self.backend.want(8)
        self.ear.wait(lambda: any(workers for _, _, workers in self.ear.executors.values()))
        return next(each for each, (_, _, workers) in self.ear.executors.items() if workers)

    def code(
        self,
        function: Callable[[Any], Any],
        result: Callable[[Task, Iterator[Any]], Any] = as_list,
    ) -> PickledCode:
        """A stage that applies a function to numbers."""
        node = Step(RDD_ID + 1, Numbers(RDD_ID, 100), _Applied(function))
        return PickledCode(stage_id=next(self._stages), pickled=pickled(StageCode(node, result=result)))

    def launch(self, code: PickledCode, executor_id: str, stop: int = 3) -> int:
        """Send a task with the numbers below `stop`; return its number."""
        task_id = next(self._tasks)
        spec = TaskSpec("app", 0, code.stage_id, 0, task_id, 0, {(RDD_ID, 0): (0, stop, 1)})
        self.backend.launch([Launch(executor_id=executor_id, spec=spec, code=code)])
        return task_id

    def ending(self, task_id: int) -> Ending:
        """How a task ended."""
        self.ear.wait(lambda: task_id in self.ear.endings)
        return self.ear.endings[task_id]

    def value(self, task_id: int) -> Any:
        """What a task returned."""
        ending = self.ending(task_id)
        assert isinstance(ending, TaskDone), ending
        return ending.value


class _Applied:
    """`map`, made here: what is not installed is sent by value."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return map(self._function, items)
