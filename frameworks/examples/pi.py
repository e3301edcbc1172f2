"""Estimate pi with eight calls of a million samples each, on the cluster of `mesolite up`.

python -m mesolite.frameworks.examples.pi
"""

import random

from mesolite.frameworks.futures import Executor

CALLS = 8
SAMPLES = 1_000_000


def inside(seed: int) -> int:
    """Count random points of the unit square that lie in the quarter circle."""
    draw = random.Random(seed).random
    return sum(draw() ** 2 + draw() ** 2 <= 1.0 for _ in range(SAMPLES))


def main() -> float:
    """Return the estimate."""
    with Executor(max_workers=CALLS) as executor:
        return 4 * sum(executor.map(inside, range(CALLS))) / (CALLS * SAMPLES)


if __name__ == "__main__":
    print(main())  # noqa: T201 - it is an example
