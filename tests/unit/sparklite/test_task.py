"""One task in a worker: what it measures, and how it ends when functions of the user do what they should not."""

import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesolite.executors.sparklite import worker_face
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.nodes import Items
from mesolite.executors.sparklite.shuffle_data import ShuffleSpec
from mesolite.executors.sparklite.task_context import TaskContext
from mesolite.executors.sparklite.task_data import StageCode
from mesolite.executors.sparklite.worker_state import WorkerState
from mesolite.frameworks import sparklite
from mesolite.frameworks.sparklite.accumulators import AccumulatorRegistry
from tests.unit.sparklite.worker_rig import Worker, by_partitions, collected, stage

MIB = 1024 * 1024


def test_a_task_says_when_it_ran_how_long_and_where(tmp_path: Path) -> None:
    done = Worker(tmp_path, "agent-7").run(stage(abs), [1, 2, 3], memory_limit_bytes=5 * MIB)
    found = done.metrics
    assert found.agent_id == "agent-7"
    assert found.host
    assert found.began_ms > 1_600_000_000_000
    assert 0 < found.run_ms < 60_000
    assert (found.items_in, found.memory_limit_bytes) == (3, 5 * MIB)


def test_a_map_task_says_what_it_wrote(tmp_path: Path) -> None:
    code = StageCode(Items(0, 1), shuffle=ShuffleSpec(3, 2, portable_hash))
    done = Worker(tmp_path).run(code, [(1, "a"), (2, "b"), (3, "c")])
    assert done.output is not None
    assert done.metrics.shuffle_write_items == 3
    assert done.metrics.shuffle_write_bytes == done.output.block.size_bytes


def test_the_peak_of_a_worker_that_has_its_process_alone_is_that_of_the_attempt(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.state = WorkerState(worker.blocks, tmp_path / "files", alone=True)

    def hold(mib: int) -> int:
        return len(bytearray(mib * MIB))

    large = worker.run(stage(hold), [200]).metrics.peak_memory_bytes
    small = worker.run(stage(hold), [1]).metrics.peak_memory_bytes
    assert large > 150 * MIB
    assert small < large - 100 * MIB


def test_threads_that_a_function_starts_belong_to_its_task(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.state = WorkerState(worker.blocks, tmp_path / "files", alone=True)
    total = AccumulatorRegistry().new(0)

    def add_aside(value: int) -> int:
        thread = threading.Thread(target=total.add, args=(value,))
        thread.start()
        thread.join()
        return value

    assert worker.run(stage(add_aside), [3, 4]).accumulators == {total.aid: 7}
    assert TaskContext.get() is None


def test_what_a_function_raises_is_raised_with_a_traceback_of_the_users_code(tmp_path: Path) -> None:
    def divide(value: int) -> float:
        return 1 / value

    with pytest.raises(ZeroDivisionError) as raised:
        Worker(tmp_path).run(stage(divide), [0])
    frames = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    # Only what called the worker stands above.
    assert frames[-1] == "divide"
    assert "_ran" not in frames


def test_a_stray_stop_iteration_fails_the_task(tmp_path: Path) -> None:
    def stop(value: int) -> int:
        raise StopIteration(value)

    def first_of(items: Iterator[Any]) -> list[Any]:
        return [next(items), next(items), next(items)]

    with pytest.raises(RuntimeError, match="StopIteration"):
        Worker(tmp_path).run(stage(stop), [1, 2])
    with pytest.raises(RuntimeError, match="Caught StopIteration thrown from user's code"):
        Worker(tmp_path).run(collected(by_partitions(first_of)), [1, 2])


def test_another_application_finds_nothing_of_the_one_before(tmp_path: Path) -> None:
    worker = Worker(tmp_path)

    def root(_value: int) -> str:
        return worker_face.SparkFiles.getRootDirectory()

    ones = worker.run(stage(root), [1], app_id="one").value
    others = worker.run(stage(root), [1], app_id="two").value
    assert ones != others


def test_workers_have_all_that_functions_may_name() -> None:
    """What the driver's package offers of the workers' part is the same there."""
    for name in sparklite.__all__:
        offered = getattr(sparklite, name)
        if offered.__module__.startswith("mesolite.executors."):
            assert getattr(worker_face, name) is offered, f"put {name} into worker_face.py"


def test_what_belongs_to_the_driver_can_be_imported_by_workers_and_not_made() -> None:
    with pytest.raises(RuntimeError, match="SparkContext can only be made and used on the driver"):
        worker_face.SparkContext("local")
    assert not hasattr(worker_face, "__wrapped__")
