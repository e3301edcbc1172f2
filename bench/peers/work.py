"""The functions that are called."""

import random


def nothing(number: int) -> int:
    """Cost nothing, so that all time goes into the call."""
    return number


def inside(seed: int, samples: int) -> int:
    """Count how many random points of a square fall into its circle."""
    draw = random.Random(seed).random
    return sum(draw() ** 2 + draw() ** 2 < 1.0 for _ in range(samples))
