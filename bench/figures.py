"""How every benchmark measures and reports: several runs, the median with minimum and maximum, a goal that is met or missed."""

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

#: Fewer runs than five give no median worth quoting (DESIGN 10).
RUNS = 5
QUICK_RUNS = 2


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured quantity."""

    name: str
    unit: str
    #: One value per run.
    values: Sequence[float]
    #: None: measured for comparison, without a goal.
    goal: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def median(self) -> float:
        """The value to quote."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """The median reaches the goal, or there is none."""
        if self.goal is None:
            return True
        return self.median <= self.goal if self.better == "lower" else self.median >= self.goal

    def line(self) -> str:
        """The last line of a benchmark: NAME: FIGURE UNIT (goal GOAL): met|missed."""
        sign = "at most" if self.better == "lower" else "at least"
        return f"{self.name}: {self.median:,.3g} {self.unit} (goal {sign} {self.goal:,g}): {'met' if self.met else 'missed'}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All figures of one benchmark."""

    figures: Sequence[Figure]
    #: What a reader must know to believe them: the machine, the peer's version, what was left out.
    notes: Sequence[str] = field(default_factory=tuple[str, ...])


def main(name: str, measure: Callable[[int], Outcome]) -> None:
    """Run a benchmark from the command line and exit.

    Args:
        name: Of the benchmark, as in `python -m bench.NAME`.
        measure: Takes the number of runs.
    """
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_RUNS} runs instead of {RUNS}: a look, no figure to quote"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    arguments = parser.parse_args()
    # Told to end, it ends what it started first, as after an interrupt.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    outcome = measure(QUICK_RUNS if arguments.quick else RUNS)
    if arguments.json:
        print(json.dumps(_as_json(name, outcome)))
    else:
        _print(outcome)
    missed = [figure for figure in outcome.figures if not figure.met]
    sys.exit(1 if arguments.check and missed else 0)


def _as_json(name: str, outcome: Outcome) -> dict[str, object]:
    return {
        "benchmark": name,
        "notes": list(outcome.notes),
        "figures": [
            {
                "name": figure.name,
                "unit": figure.unit,
                "median": figure.median,
                "min": min(figure.values),
                "max": max(figure.values),
                "runs": len(figure.values),
                "goal": figure.goal,
                "better": figure.better,
                "met": figure.met,
            }
            for figure in outcome.figures
        ],
    }


def _print(outcome: Outcome) -> None:
    width = max(len(figure.name) for figure in outcome.figures)
    print(f"{'':{width}}  {'median':>12} {'min':>12} {'max':>12}  unit")
    for figure in outcome.figures:
        print(
            f"{figure.name:{width}}  {figure.median:12,.3f} {min(figure.values):12,.3f} {max(figure.values):12,.3f}"
            f"  {figure.unit}"
        )
    for note in outcome.notes:
        print(f"note: {note}")
    for figure in outcome.figures:
        if figure.goal is not None:
            print(figure.line())
