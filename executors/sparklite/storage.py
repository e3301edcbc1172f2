"""Partitions that are kept: as objects in this worker's memory, and pickled in the agent's block store."""

import pickle
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .nodes import Node
    from .task import Task
    from .task_data import TaskSpec


class Storage:
    """What one worker keeps, for all tasks that run in it."""

    def __init__(self) -> None:
        self._objects: Final[dict[tuple[str, int, int], list[Any]]] = {}

    def begin(self, spec: "TaskSpec") -> None:
        """Before each task."""

    def kept(self, node: "Node", partition: int, task: "Task") -> Iterator[Any]:
        """The items of a persisted node's partition: kept ones, or computed and kept."""
        key = (task.spec.app_id, node.rdd_id, partition)
        items = self._objects.get(key)
        if items is None:
            items = self._objects[key] = list(node.compute(partition, task))
            name = f"rdd-{task.spec.app_id}-{node.rdd_id}-{partition}-{task.spec.task_id}"
            task.cached[node.rdd_id, partition] = task.blocks.put(name, pickle.dumps(items, 5))
        return iter(items)
