"""How tasks of a barrier stage meet: by what they leave in their agents' stores."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mesolite.executors.sparklite import barrier_round
from mesolite.executors.sparklite.task_context import BarrierTaskContext
from mesolite.executors.sparklite.task_data import BarrierPlace
from tests.unit.sparklite.worker_rig import Worker, by_partitions, collected

Function = Callable[[BarrierTaskContext], Any]


def of_context(function: Function) -> Callable[[Iterator[Any]], list[Any]]:
    """A function for `mapPartitions` that wants only the context."""
    return lambda _items: [function(BarrierTaskContext.get())]


def run_together(directory: Path, functions: list[Function], first_task_id: int = 1) -> list[Any]:
    """Run a task of each function, all at the same time, each at an agent of its own."""
    workers = [Worker(directory, f"agent-{partition}") for partition in range(len(functions))]
    places = tuple(
        BarrierPlace(
            first_task_id + partition,
            f"host-{partition}:80",
            worker.blocks.agent_id,
            f"{directory}/agent-{partition}/{{}}",
        )
        for partition, worker in enumerate(workers)
    )

    def run(partition: int) -> Any:
        code = collected(by_partitions(of_context(functions[partition])))
        end = workers[partition].run(code, [], partition, task_id=first_task_id + partition, barrier=places)
        return end.value[0]

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(run, range(len(functions))))


def test_all_get_the_messages_of_all_in_order_of_partitions(tmp_path: Path) -> None:
    def gather(context: BarrierTaskContext) -> list[str]:
        return context.allGather(f"from {context.partitionId()}")

    assert run_together(tmp_path, [gather] * 4) == [["from 0", "from 1", "from 2", "from 3"]] * 4


def test_rounds_do_not_mix(tmp_path: Path) -> None:
    def gather(context: BarrierTaskContext) -> list[list[str]]:
        return [context.allGather(f"{context.partitionId()}.{number}") for number in range(5)]

    expected = [[f"0.{number}", f"1.{number}"] for number in range(5)]
    assert run_together(tmp_path, [gather] * 2) == [expected, expected]


def test_what_another_try_left_is_not_met(tmp_path: Path) -> None:
    def gather(word: str) -> Function:
        return lambda context: context.allGather(word)

    assert run_together(tmp_path, [gather("old")] * 2, 1) == [["old", "old"]] * 2
    assert run_together(tmp_path, [gather("new")] * 2, 3) == [["new", "new"]] * 2


def test_a_task_alone_meets_itself(tmp_path: Path) -> None:
    def meet(context: BarrierTaskContext) -> list[str]:
        context.barrier()
        return context.allGather()

    assert run_together(tmp_path, [meet]) == [[""]]


def test_tasks_know_where_the_others_are(tmp_path: Path) -> None:
    def places(context: BarrierTaskContext) -> list[str]:
        return [info.address for info in context.getTaskInfos()]

    assert run_together(tmp_path, [places] * 2) == [["host-0:80", "host-1:80"]] * 2


def test_who_does_not_come_is_named_once_the_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barrier_round, "TIMEOUT_S", 0.05)

    def alone(context: BarrierTaskContext) -> list[str]:
        return context.allGather()

    def elsewhere(_context: BarrierTaskContext) -> list[str]:
        return []

    with pytest.raises(TimeoutError, match="the task of partition 1 did not come to round 1 of the barrier"):
        run_together(tmp_path, [alone, elsewhere])


@pytest.mark.parametrize(
    ("message", "kind", "said"),
    [
        (7, TypeError, "Argument `message` should be str, got int"),
        ("x" * (barrier_round.MAX_MESSAGE_BYTES + 1), ValueError, "a message of a barrier has 1,048,577 bytes"),
    ],
)
def test_messages_are_texts_of_bounded_length(tmp_path: Path, message: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        run_together(tmp_path, [lambda context: context.allGather(message)])
