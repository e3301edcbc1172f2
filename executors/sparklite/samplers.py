"""Random samples of partitions: the same items as PySpark's of the same seed.

What makes them the same: each partition has a generator of its own, seeded with `seed ^ partition`, from which ten numbers are
thrown away; then each item takes one number (or as many as a Poisson draw takes), in order.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from math import exp
from random import Random
from typing import Any, Final

#: Neighbouring seeds begin alike; so many numbers are thrown away.
_THROWN_AWAY: Final = 10
#: From this mean on, exp(-mean) times uniforms loses precision: gaps between events are added up instead.
_GAPS_FROM_MEAN: Final = 20.0


def generator_of(seed: int, partition: int) -> Random:
    """The random numbers of one partition."""
    generator = Random(seed ^ partition)
    for _ in range(_THROWN_AWAY):
        generator.randint(0, 1)
    return generator


def poisson(generator: Random, mean: float) -> int:
    """Draw from a Poisson distribution (Knuth, The Art of Computer Programming, volume 2, 3.4.1)."""
    count = 0
    if mean < _GAPS_FROM_MEAN:
        limit = exp(-mean)
        product = generator.random()
        while product > limit:
            count += 1
            product *= generator.random()
        return count
    waited = generator.expovariate(mean)
    while waited < 1.0:
        count += 1
        waited += generator.expovariate(mean)
    return count


@dataclass(frozen=True, slots=True)
class Sample:
    """`sample`: each item with the same chance, or so many times as a Poisson draw says."""

    with_replacement: bool
    fraction: float
    seed: int

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        generator, fraction = generator_of(self.seed, partition), self.fraction
        if self.with_replacement:
            return (copy for item in items for copy in repeat(item, poisson(generator, fraction)))
        draw: Callable[[], float] = generator.random
        return (item for item in items if draw() < fraction)


@dataclass(frozen=True, slots=True)
class Slice:
    """`randomSplit`: items whose number is in [lower, upper). Slices of one seed do not overlap."""

    lower: float
    upper: float
    seed: int

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        draw = generator_of(self.seed, partition).random
        lower, upper = self.lower, self.upper
        return (item for item in items if lower <= draw() < upper)


@dataclass(frozen=True, slots=True)
class SampleByKey:
    """`sampleByKey`: each key has its fraction; a key that has none raises KeyError."""

    with_replacement: bool
    fractions: Mapping[Any, float]
    seed: int

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        generator, fractions = generator_of(self.seed, partition), self.fractions
        if self.with_replacement:
            return (copy for key, value in items for copy in repeat((key, value), poisson(generator, fractions[key])))
        draw = generator.random
        return ((key, value) for key, value in items if draw() < fractions[key])
