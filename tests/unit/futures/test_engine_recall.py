"""Calls behind long ones go to whoever is idle, and only those that have not begun."""

from mesolite.executors.python.calls import Function
from mesolite.executors.python.wire import Hello
from mesolite.frameworks.futures.engine_call import Ending, PoolCall
from mesolite.frameworks.futures.engine_executor import ExecutorEnd
from mesolite.frameworks.futures.engine_recall import RECALL_AFTER_MS, Recall


def nothing(call: PoolCall, ending: Ending) -> None:
    """Nobody wants to know."""


def executor(name: str, *numbers: int, workers: int = 1) -> ExecutorEnd:
    """An executor that has these calls, and was told so."""
    end = ExecutorEnd(name)
    end.announced = True
    end.met(Hello(name, "a1", f"c-{name}", "3.11", workers))
    for number in numbers:
        end.give(number, PoolCall(Function(bytes(16), b"f"), b"a", nothing), 10_000)
    end.take("s1", 0.0)
    return end


def recalled(end: ExecutorEnd) -> list[int]:
    return [number for number, given in end.given.items() if given.recalled]


def test_the_newest_calls_behind_are_asked_back_for_idle_workers() -> None:
    busy, idle, recall = executor("busy", 1, 2, 3, 4), executor("idle"), Recall()
    assert recall.look([busy, idle], 0.0) == ([], RECALL_AFTER_MS)
    asked, due_ms = recall.look([busy, idle], float(RECALL_AFTER_MS))
    assert asked == [busy]
    assert recalled(busy) == [4], "one idle worker, one call"
    assert due_ms == 2 * RECALL_AFTER_MS
    recall.look([busy, idle], 2.0 * RECALL_AFTER_MS)
    assert recalled(busy) == [3, 4], "what was asked back before is not asked again"


def test_an_executor_that_ends_calls_keeps_them() -> None:
    busy, idle, recall = executor("busy", 1, 2, 3), executor("idle"), Recall()
    recall.look([busy, idle], 0.0)
    busy.returned(1)
    assert recall.look([busy, idle], float(RECALL_AFTER_MS)) == ([], 2 * RECALL_AFTER_MS)
    assert recalled(busy) == []


def test_a_call_that_has_begun_or_that_nobody_wants_is_not_asked_back() -> None:
    busy, idle, recall = executor("busy", 1, 2, 3), executor("idle", workers=4), Recall()
    busy.given[3].begun = True
    busy.given[2].unwanted = True
    recall.look([busy, idle], 0.0)
    recall.look([busy, idle], float(RECALL_AFTER_MS))
    assert recalled(busy) == [1], "whether it has begun, its executor knows"


def test_without_idle_workers_nothing_is_looked_at() -> None:
    recall = Recall()
    assert recall.look([executor("busy", 1, 2), executor("full", 3)], 0.0) == ([], None)
    assert recall.look([executor("lone", 1, 2)], 1000.0) == ([], None)


def test_as_many_calls_stay_as_there_are_workers() -> None:
    busy, idle, recall = executor("busy", 1, 2, 3, workers=2), executor("idle", workers=8), Recall()
    recall.look([busy, idle], 0.0)
    recall.look([busy, idle], float(RECALL_AFTER_MS))
    assert recalled(busy) == [3]
