"""A worker as tests have one: a stage's function goes to it and back as on a cluster, its blocks lie in a directory."""

import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.directory_blocks import DirectoryBlocks
from mesolite.executors.sparklite.nodes import Items, Node, Step
from mesolite.executors.sparklite.results import as_list
from mesolite.executors.sparklite.stage_runner import StageRunner
from mesolite.executors.sparklite.steps import Map
from mesolite.executors.sparklite.task_data import StageCode, TaskDone, TaskMissed, TaskSpec
from mesolite.executors.sparklite.worker_state import WorkerState
from mesolite.frameworks.sparklite import stage_function

_TASK_IDS = itertools.count(100)


def stage(function: Callable[[Any], Any]) -> StageCode:
    """A stage of one `map`, collected."""
    return StageCode(Step(1, Items(0, 1), Map(function)), result=as_list)


def collected(node: Node) -> StageCode:
    """A stage that collects a node."""
    return StageCode(node, result=as_list)


def by_partitions(function: Callable[[Iterator[Any]], Any], node: Node | None = None) -> Step:
    """`mapPartitions`."""
    return Step(1, node or Items(0, 1), _OfItems(function))


class _OfItems:
    """A function of the items alone."""

    def __init__(self, function: Callable[[Iterator[Any]], Any]) -> None:
        self._function = function

    def __call__(self, partition: int, items: Iterator[Any]) -> Any:
        return self._function(items)


class Worker:
    """One worker of a pretended agent."""

    def __init__(self, directory: Path, agent_id: str = "agent", number: int = 0) -> None:
        self.blocks = DirectoryBlocks(directory / agent_id, agent_id)
        self.state = WorkerState(self.blocks, directory / f"{agent_id}-{number}")
        self._runners: dict[bytes, StageRunner] = {}

    def end(
        self, code: StageCode, items: Sequence[Any] = (), partition: int = 0, **fields: Any
    ) -> TaskDone | TaskMissed:
        """Run a task on these items, which are those of RDD 0."""
        pickled = stage_function.pickled(code)
        runner = self._runners.setdefault(pickled, StageRunner(pickled))
        inputs = {(0, partition): pickle.dumps(list(items))}
        spec = TaskSpec("app", 0, 3, 0, next(_TASK_IDS), partition, inputs)
        spec = replace(spec, **fields)
        (sent,), _ = pickle.loads(stage_function.arguments(spec))
        return stage_function.result(pickle.loads(pickle.dumps(runner.run(sent, self.state))))

    def run(self, code: StageCode, items: Sequence[Any] = (), partition: int = 0, **fields: Any) -> TaskDone:
        """As `end`, for a task that goes through."""
        done = self.end(code, items, partition, **fields)
        assert isinstance(done, TaskDone), done
        return done


class Store:
    """The driver's store."""

    def __init__(self, directory: Path, agent_id: str = "driver's agent") -> None:
        self.blocks = DirectoryBlocks(directory / agent_id, agent_id)
        self.dropped: list[StoredBlock] = []
        self.puts = 0

    def put(self, block_id: str, data: bytes) -> StoredBlock:
        """See `Backend`."""
        self.puts += 1
        return self.blocks.put(block_id, data)

    def drop(self, blocks: list[StoredBlock]) -> None:
        """See `Backend`."""
        self.dropped += blocks
        for block in blocks:
            Path(block.url).unlink(missing_ok=True)
