"""Random samples of RDDs: the same seed gives the same items, and PySpark's."""

import random
import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from math import log, sqrt
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mesolite.executors.sparklite import results, samplers

from .base import RddBase

if TYPE_CHECKING:
    from .rdd import RDD

T = TypeVar("T")

#: More cannot be asked for: so many standard deviations below what an integer of the machine holds, as PySpark has it.
_MAX_SAMPLE: Final = sys.maxsize - int(10.0 * sqrt(sys.maxsize))
#: The chance that a sample without replacement turns out too small, and is drawn again.
_CHANCE_OF_TOO_FEW: Final = 0.00005
_MAX_SPLIT_SEED: Final = 2**32 - 1


class Sampling(RddBase[T]):
    """Part of `RDD`."""

    def sample(self, withReplacement: bool, fraction: float, seed: int | None = None) -> "RDD[T]":
        """A random part of the items.

        Args:
            withReplacement: Items may come several times.
            fraction: Without replacement the chance of each item, with replacement how often each comes on average.
            seed: None: another each time.

        Raises:
            ValueError: The fraction is negative.
        """
        if not fraction >= 0:
            raise ValueError("Fraction must be nonnegative.")
        return self._step(samplers.Sample(withReplacement, fraction, _seed(seed)), preserves=True)

    def sampleByKey(self, withReplacement: bool, fractions: Mapping[Any, float], seed: int | None = None) -> "RDD[Any]":
        """A random part of the pairs, with a fraction for each key. A key that has none makes its task fail.

        Raises:
            AssertionError: A fraction is negative (as PySpark has it).
        """
        for fraction in fractions.values():
            if not fraction >= 0.0:
                raise AssertionError(f"Negative fraction value: {fraction}")
        return self._step(samplers.SampleByKey(withReplacement, fractions, _seed(seed)), preserves=True)

    def randomSplit(self, weights: Sequence[float], seed: int | None = None) -> "list[RDD[T]]":
        """Cut it at random into as many RDDs as there are weights, which need not add up to 1.

        Raises:
            ValueError: A weight is negative, or all are 0.
        """
        if not all(weight >= 0 for weight in weights):
            raise ValueError("Weights must be nonnegative")
        total = float(sum(weights))
        if not total > 0:
            raise ValueError("Sum of weights must be positive")
        bounds = accumulate((weight / total for weight in weights), initial=0.0)
        chosen = random.randint(0, _MAX_SPLIT_SEED) if seed is None else seed
        return [self._step(samplers.Slice(low, high, chosen), preserves=True) for low, high in pairwise(bounds)]

    def takeSample(self, withReplacement: bool, num: int, seed: int | None = None) -> list[T]:
        """So many items at random, in random order; fewer only where there are fewer and none is taken twice.

        Runs two jobs: one that counts. Results must fit into the driver's memory.

        Raises:
            ValueError: num is negative or far too large.
        """
        if num < 0:
            raise ValueError("Sample size cannot be negative.")
        if num > _MAX_SAMPLE:
            raise ValueError(f"Sample size cannot be greater than {_MAX_SAMPLE}.")
        if num == 0 or self.getNumPartitions() == 0:
            return []
        count = sum(self._run(results.count))
        if count == 0:
            return []
        generator = random.Random(seed)
        if not withReplacement and num >= count:
            items = self._all_of(self)
        else:
            fraction = _fraction_for(num, count, with_replacement=withReplacement)
            items = self._all_of(self.sample(withReplacement, fraction, seed))
            while len(items) < num:
                items = self._all_of(self.sample(withReplacement, fraction, generator.randint(0, sys.maxsize)))
        generator.shuffle(items)
        return items[:num]

    def _all_of(self, rdd: RddBase[T]) -> list[T]:
        return [item for part in rdd._run(results.as_list) for item in part]


def _seed(seed: int | None) -> int:
    return random.randint(0, sys.maxsize) if seed is None else seed


def _fraction_for(num: int, total: int, *, with_replacement: bool) -> float:
    """Which fraction gives at least `num` of `total` items nearly always.

    With replacement the sum of Poisson draws is at least `num` with a margin of so many standard deviations; without it the
    bound is Chernoff's for a binomial distribution. Numbers as PySpark's.
    """
    fraction = num / total
    if with_replacement:
        deviations = 9 if num < 12 else 5
        return fraction + deviations * sqrt(fraction / total)
    gamma = -log(_CHANCE_OF_TOO_FEW) / total
    return min(1.0, fraction + gamma + sqrt(gamma * gamma + 2 * gamma * fraction))
