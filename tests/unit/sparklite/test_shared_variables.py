"""What a program shares with its tasks, as programs do it."""

import threading
from pathlib import Path

import pytest

from mesolite.frameworks.sparklite import (
    AccumulatorParam,
    BarrierTaskContext,
    SparkContext,
    SparkFiles,
    TaskContext,
)
from mesolite.frameworks.sparklite.errors import ClosureError, JobFailed


def test_an_accumulator_has_what_the_tasks_of_an_action_have_added(sc: SparkContext) -> None:
    total = sc.accumulator(1)

    def add(value: int) -> None:
        nonlocal total
        total += value

    sc.parallelize([1, 2, 3]).foreach(add)
    assert total.value == 7


class Words(AccumulatorParam[set[str]]):
    """Adds sets."""

    def zero(self, value: set[str]) -> set[str]:
        """See `AccumulatorParam`."""
        return set()

    def addInPlace(self, value1: set[str], value2: set[str]) -> set[str]:
        """See `AccumulatorParam`."""
        value1 |= value2
        return value1


def test_a_param_of_ones_own_travels_with_its_class(sc: SparkContext) -> None:
    words = sc.accumulator({"a"}, Words())

    def add(word: str) -> None:
        words.add({word})

    sc.parallelize(["b", "c", "b"], 3).foreach(add)
    assert words.value == {"a", "b", "c"}


def test_reading_an_accumulator_in_a_task_fails_the_job(sc: SparkContext) -> None:
    total = sc.accumulator(0)

    def read(_value: int) -> int:
        return total.value

    with pytest.raises(JobFailed, match=r"Accumulator\.value"):
        sc.parallelize([1]).map(read).collect()


def test_tasks_read_a_broadcast_value(sc: SparkContext) -> None:
    table = sc.broadcast([1, 2, 3, 4, 5])
    assert table.value == [1, 2, 3, 4, 5]

    def look(index: int) -> int:
        return table.value[index]

    assert sc.parallelize([0, 4], 2).map(look).collect() == [1, 5]
    table.unpersist()
    assert sc.parallelize([2]).map(look).collect() == [3]


def test_a_broadcast_value_that_was_destroyed_fails_the_job_that_names_it(sc: SparkContext) -> None:
    table = sc.broadcast({"a": 1})

    def read(_value: int) -> dict[str, int]:
        return table.value

    rdd = sc.parallelize([1]).map(read)
    table.destroy()
    with pytest.raises(ClosureError, match="after it was destroyed"):
        rdd.collect()


def test_an_added_file_is_where_spark_files_say(sc: SparkContext, tmp_path: Path) -> None:
    (tmp_path / "number.txt").write_text("100")
    sc.addFile(str(tmp_path / "number.txt"))

    def scaled(value: int) -> int:
        return value * int(Path(SparkFiles.get("number.txt")).read_text())

    assert sc.parallelize([1, 2, 3, 4]).map(scaled).collect() == [100, 200, 300, 400]
    assert f"file:{tmp_path / 'number.txt'}" in sc.listFiles


def test_an_added_module_can_be_imported(sc: SparkContext, tmp_path: Path) -> None:
    (tmp_path / "shared_arithmetic.py").write_text("def cube(value):\n    return value ** 3\n")
    sc.addPyFile(str(tmp_path / "shared_arithmetic.py"))

    def cubed(value: int) -> int:
        from shared_arithmetic import cube  # type: ignore[import-not-found]  # pyright: ignore

        return int(cube(value))

    assert sc.parallelize([1, 2, 3]).map(cubed).collect() == [1, 8, 27]


def test_a_task_knows_which_it_is(sc: SparkContext) -> None:
    sc.setLocalProperty("key1", "value")

    def ask(_value: int) -> tuple[int, int, str | None, int, dict[str, object]]:
        context = TaskContext.get()
        if context is None:
            raise AssertionError("a task runs")
        return (
            context.partitionId(),
            context.attemptNumber(),
            context.getLocalProperty("key1"),
            context.cpus(),
            context.resources(),
        )

    assert sc.parallelize([0, 0], 2).map(ask).collect() == [(0, 0, "value", 1, {}), (1, 0, "value", 1, {})]
    assert TaskContext.get() is None
    sc.setLocalProperty("key1", None)


def test_attempts_have_ids_of_their_own_and_a_stage_has_one(sc: SparkContext) -> None:
    def ask(_value: int) -> tuple[int, int]:
        context = TaskContext.get()
        return (context.stageId(), context.taskAttemptId()) if context else (-1, -1)

    asked = sc.parallelize(range(4), 4).map(ask)
    first, second = asked.collect(), asked.collect()
    assert len({stage for stage, _ in first}) == 1
    assert len({attempt for _, attempt in first + second}) == 8


def test_the_tasks_of_a_barrier_stage_meet(sc: SparkContext) -> None:
    def gather(items: object) -> list[list[str]]:
        context = BarrierTaskContext.get()
        context.barrier()
        return [context.allGather(f"from {context.partitionId()}"), [info.address for info in context.getTaskInfos()]]

    found = sc.parallelize(range(4), 2).barrier().mapPartitions(gather).collect()
    assert found[0] == found[2] == ["from 0", "from 1"]
    assert len(found[1]) == 2


def test_outside_of_a_barrier_stage_there_is_no_such_context(sc: SparkContext) -> None:
    with pytest.raises(RuntimeError, match="not in a barrier stage"):
        BarrierTaskContext.get()

    def ask(_value: int) -> str:
        return str(BarrierTaskContext.get())

    with pytest.raises(JobFailed, match="not in a barrier stage"):
        sc.parallelize([1]).map(ask).collect()


def test_several_threads_may_submit_and_add(sc: SparkContext) -> None:
    total = sc.accumulator(0)

    def submit() -> None:
        sc.parallelize(range(10), 2).foreach(total.add)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert total.value == 4 * 45
