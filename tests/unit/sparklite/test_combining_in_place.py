"""Pairs that lie right are combined where they are, in as much memory as there is."""

from operator import add
from pathlib import Path
from typing import Any

import pytest

from mesolite.executors.sparklite import combining_in_place, pair_steps, steps
from mesolite.executors.sparklite.combining_in_place import CombineInPlace
from mesolite.executors.sparklite.current import running
from mesolite.executors.sparklite.hashing import portable_hash
from mesolite.executors.sparklite.memory_budget import MemoryBudget
from mesolite.executors.sparklite.nodes import ShuffleRead
from mesolite.executors.sparklite.shuffle_data import Aggregator, ShuffleSpec

from .shuffle_rig import Memory, ShuffleRig, budget

PAIRS: list[tuple[Any, int]] = [(number % 700, number) for number in range(5_000)]


def test_values_are_combined_in_order_of_coming() -> None:
    assert list(CombineInPlace(pair_steps.GROUP)(0, iter([("a", 1), ("b", 2), ("a", 3)]))) == [
        ("a", [1, 3]),
        ("b", [2]),
    ]
    assert list(CombineInPlace(Aggregator(steps.same, add, add))(0, iter(PAIRS[:3]))) == PAIRS[:3]
    assert list(CombineInPlace(pair_steps.GROUP)(0, iter([]))) == []


def test_what_does_not_fit_into_memory_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: memory is short at every look; the task's counters tell that something went to disk."""
    expected: dict[int, list[int]] = {}
    for key, value in PAIRS:
        expected.setdefault(key, []).append(value)
    spec = ShuffleSpec(1, 1, portable_hash)
    task = ShuffleRig(tmp_path).task(ShuffleRead(1, spec), spec, 0)
    with budget(Memory([True])) as held, running(task):

        def short_one(budget_bytes: int) -> MemoryBudget:
            return held

        monkeypatch.setattr(combining_in_place, "MemoryBudget", short_one)
        assert dict(CombineInPlace(pair_steps.GROUP)(0, iter(PAIRS))) == expected
    assert task.counters.spilled_bytes > 0


@pytest.mark.parametrize("short", [(), (True,), (False, True, False)])
def test_joins_come_out_however_short_memory_is(tmp_path: Path, short: tuple[bool, ...]) -> None:
    """Goal: both sides of a key are found again after parts of them went to disk."""
    left = [(number % 100, number) for number in range(600)]
    right = [(number % 120, -number) for number in range(240)]
    sides = [list(pair_steps.FromSide(side)(0, iter(pairs))) for side, pairs in enumerate((left, right))]
    rig = ShuffleRig(tmp_path, short=short)
    gathered = rig.run(sides, 2, aggregator=pair_steps.CO_GROUP, map_side_combine=False)
    joined = [pair for part in gathered for pair in pair_steps.Joined()(0, iter(part))]
    expected = [(key, (value, other)) for key, value in left for its, other in right if its == key]
    assert sorted(joined) == sorted(expected)
