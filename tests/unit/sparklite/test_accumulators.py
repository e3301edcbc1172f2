"""Accumulators: tasks add, the driver reads, and what counts counts once."""

from pathlib import Path

import pytest

from mesolite.executors.sparklite.accumulators import AccumulatorParam, AddingAccumulatorParam
from mesolite.frameworks.sparklite.accumulators import AccumulatorRegistry
from tests.unit.sparklite.worker_rig import Worker, stage


class VectorParam(AccumulatorParam[list[float]]):
    """Adds lists element by element."""

    def zero(self, value: list[float]) -> list[float]:
        """See `AccumulatorParam`."""
        return [0.0] * len(value)

    def addInPlace(self, value1: list[float], value2: list[float]) -> list[float]:
        """See `AccumulatorParam`."""
        for index, each in enumerate(value2):
            value1[index] += each
        return value1


def test_the_driver_reads_adds_and_sets() -> None:
    registry = AccumulatorRegistry()
    total = registry.new(1)
    assert total.value == 1
    total.value = 2
    total += 5
    assert (total.value, str(total)) == (7, "7")
    assert repr(total) == f"Accumulator<id={total.aid}, value=7>"
    assert registry.new(1.0).value == 1.0
    assert registry.new(1j).value == 1j


def test_what_is_no_number_needs_a_param() -> None:
    with pytest.raises(TypeError, match="No default accumulator param for type <class 'list'>"):
        AccumulatorRegistry().new([1.0, 2.0])


def test_tasks_add_from_zero_and_the_driver_counts_what_it_accepts(tmp_path: Path) -> None:
    registry = AccumulatorRegistry()
    total = registry.new(10)
    worker = Worker(tmp_path)

    def add(value: int) -> int:
        total.add(value)
        return value

    first, second = worker.run(stage(add), [1, 2, 3]), worker.run(stage(add), [1, 2, 3])
    assert first.accumulators == second.accumulators == {total.aid: 6}
    assert total.value == 10
    registry.merge(first.accumulators)
    assert total.value == 16


def test_a_param_that_adds_in_place_begins_anew_in_each_task(tmp_path: Path) -> None:
    registry = AccumulatorRegistry()
    vector = registry.new([1.0, 2.0, 3.0], VectorParam())
    words = registry.new(["first"], AddingAccumulatorParam[list[str]]([]))
    worker = Worker(tmp_path)

    def add(value: int) -> int:
        vector.add([value] * 3)
        words.add([str(value)])
        return value

    ends = [worker.run(stage(add), [1, 2, 3]) for _ in range(2)]
    assert [done.accumulators for done in ends] == 2 * [{vector.aid: [6.0, 6.0, 6.0], words.aid: ["1", "2", "3"]}]
    registry.merge(ends[0].accumulators)
    assert vector.value == [7.0, 8.0, 9.0]
    assert words.value == ["first", "1", "2", "3"]


def test_a_task_cannot_read_or_set_the_value(tmp_path: Path) -> None:
    total = AccumulatorRegistry().new(0)
    worker = Worker(tmp_path)

    def read(_value: int) -> int:
        return total.value

    def write(_value: int) -> None:
        total.value = 7

    with pytest.raises(RuntimeError, match=r"Accumulator\.value` cannot be accessed inside tasks"):
        worker.run(stage(read), [1])
    with pytest.raises(RuntimeError, match=r"Accumulator\.value` cannot be accessed inside tasks"):
        worker.run(stage(write), [1])


def test_a_task_that_adds_nothing_sends_nothing(tmp_path: Path) -> None:
    total = AccumulatorRegistry().new(0)

    def look(value: int) -> str:
        return f"{total} {value}"

    done = Worker(tmp_path).run(stage(look), [1])
    assert (done.value, done.accumulators) == (["0 1"], {})


def test_additions_to_what_the_program_has_forgotten_are_let_go() -> None:
    registry = AccumulatorRegistry()
    registry.merge({registry.new(0).aid: 5, 987_654: 1})
