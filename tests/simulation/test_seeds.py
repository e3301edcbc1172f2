"""Every run is a test: these seeds at each change, as many more as MESOLITE_SEEDS says, and those that once found something."""

import os
from pathlib import Path
from typing import Final

import pytest

from .run import SETTLE_MS, run

#: CI runs these at each change, in some minutes of two cores.
SEEDS: Final = int(os.environ.get("MESOLITE_SEEDS", "2000"))
#: So many tests, which several processes share: each takes some seconds.
PARTS: Final = 100


def regressions() -> list[tuple[int, list[str]]]:
    """The seeds of regressions.txt, and their heavy faults; the rest of each line says why."""
    lines = Path(__file__).with_name("regressions.txt").read_text(encoding="utf-8").splitlines()
    found: list[tuple[int, list[str]]] = []
    for line in lines:
        if line and not line.startswith("#"):
            seed, _, faults = line.split()[0].partition("+")
            found.append((int(seed), faults.split(",") if faults else []))
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_the_cluster_keeps_its_promises(part: int) -> None:
    """Goal: no seed breaks a rule of checkers.py, and all come to rest. Method: every hundredth seed of so many."""
    for seed in range(1 + part, SEEDS + 1, PARTS):
        outcome = run(seed)
        assert outcome.settled_ms <= SETTLE_MS


def test_what_once_went_wrong_does_not_again() -> None:
    """Goal: no bug comes back. Method: every seed of regressions.txt; in one test, because there may be none."""
    for seed, faults in regressions():
        assert run(seed, faults=faults).lines > 0


def test_runs_are_worth_something() -> None:
    """Goal: the simulator is not idle without anybody noticing. Method: count what happens in a few runs."""
    outcomes = [run(seed) for seed in range(1, 11)]
    assert sum(outcome.tasks for outcome in outcomes) > 100
    assert sum(outcome.lines for outcome in outcomes) > 5_000
