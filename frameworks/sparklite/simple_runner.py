"""Runs a job in this process, stage after stage: stands in until the DAG scheduler is here."""

import pickle
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from mesolite.executors.sparklite.directory_blocks import DirectoryBlocks
from mesolite.executors.sparklite.shuffle_data import MapOutput, Segment
from mesolite.executors.sparklite.storage import Storage
from mesolite.executors.sparklite.task import Task
from mesolite.executors.sparklite.task_data import StageCode, TaskDone, TaskSpec

from ..futures.pickling import dumps
from .lineage import Lineage, Shuffle


class SimpleRunner:
    """One task at a time; shuffles stay."""

    def __init__(self) -> None:
        directory = Path(tempfile.mkdtemp())
        # Not a TemporaryDirectory: that warns when nobody closes it, and nobody does yet.
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self._blocks = DirectoryBlocks(directory)
        self._storage = Storage()
        self._outputs: dict[int, list[MapOutput]] = {}
        self._tasks = count()

    def run(
        self, lineage: Lineage, function: Callable[[Task, Iterator[Any]], Any], partitions: tuple[int, ...]
    ) -> list[Any]:
        """Return the function's values."""
        code = pickle.loads(dumps(StageCode(lineage.node, result=function)))
        return [self._task(code, lineage, partition).value for partition in partitions]

    def _task(self, code: StageCode, lineage: Lineage, partition: int) -> TaskDone:
        inputs: dict[tuple[int, int], Any] = {}
        self._gather(lineage, partition, inputs)
        spec = TaskSpec("app", 0, 0, 0, next(self._tasks), partition, inputs)
        done = Task(code, spec, self._blocks, self._storage).run()
        assert isinstance(done, TaskDone), done
        return done

    def _gather(self, lineage: Lineage, partition: int, inputs: dict[tuple[int, int], Any]) -> None:
        key = (lineage.node.rdd_id, partition)
        if lineage.shuffle is not None:
            outputs = self._outputs_of(lineage.shuffle)
            inputs[key] = tuple(
                Segment(
                    lineage.shuffle.spec.shuffle_id,
                    index,
                    output.block,
                    output.offsets[partition],
                    output.offsets[partition + 1] - output.offsets[partition],
                    output.counts[partition],
                )
                for index, output in enumerate(outputs)
            )
        elif lineage.input_of is not None:
            inputs[key] = lineage.input_of(partition)
        for node, its in lineage.node.needs(partition):
            index = lineage.node.parents.index(node)
            self._gather(lineage.parents[index], its, inputs)

    def _outputs_of(self, shuffle: Shuffle) -> list[MapOutput]:
        known = self._outputs.get(shuffle.spec.shuffle_id)
        if known is None:
            code = pickle.loads(dumps(StageCode(shuffle.parent.node, shuffle=shuffle.spec)))
            known = []
            for partition in range(shuffle.parent.node.partitions):
                output = self._task(code, shuffle.parent, partition).output
                assert output is not None
                known.append(output)
            self._outputs[shuffle.spec.shuffle_id] = known
        return known
