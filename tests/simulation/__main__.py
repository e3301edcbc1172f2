"""Run seeds by hand: `python -m tests.simulation --seed 17 --trace`, or `--seeds 1000-2000`."""

import argparse
import sys
import time

from .run import SimulationFailed, run
from .trace import Trace


def say(line: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Run what the command line names; 1 where a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="run this seed")
    which.add_argument("--seeds", metavar="FIRST-LAST", help="run all of these")
    parser.add_argument(
        "--heavy", default="", metavar="FAULT,...", help="make these faults heavy (plan.py has them all)"
    )
    parser.add_argument("--trace", action="store_true", help="write down all that happens")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        first = last = arguments.seed
    else:
        first, last = map(int, arguments.seeds.split("-"))
    faults = arguments.heavy.split(",") if arguments.heavy else []
    failed = 0
    for seed in range(first, last + 1):
        began_s = time.process_time()
        try:
            outcome = run(seed, trace=Trace(say if arguments.trace else None), faults=faults)
        except SimulationFailed as failure:
            failed += 1
            sys.stdout.write(f"{failure}\n")
        else:
            sys.stdout.write(
                f"seed {seed}: {outcome.tasks} tasks, at rest {outcome.settled_ms / 1000:.0f} s after the last fault, "
                f"{outcome.repeats} repeated updates, {outcome.lines} lines {outcome.digest}, "
                f"{time.process_time() - began_s:.2f} s\n"
            )
    if last > first:
        sys.stdout.write(f"{failed} of {last - first + 1} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
