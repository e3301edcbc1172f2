"""`StatCounter`: count, mean, variance, maximum and minimum of numbers in one pass, and of parts put together.

Welford's method for single values, and Chan's for parts: neither loses precision as sums of squares do.
"""

import sys
from collections.abc import Callable, Iterable
from copy import deepcopy
from math import sqrt
from typing import Any, Final

_PLAIN: Final = frozenset({int, float, bool})
#: Where one part has so many times the values of another, its mean is moved instead of both being weighed.
_LOPSIDED: Final = 10


class StatCounter:
    """See `pyspark.statcounter.StatCounter`. Values may be numpy arrays, too: then all is elementwise.

    Attributes:
        n: How many values.
        mu: Their mean.
        m2: The sum of squared distances from the mean.
        maxValue, minValue: The largest and the smallest, as floats; -inf and inf where there are none, NaN where one is NaN.
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        self.n = 0
        self.mu: Any = 0.0
        self.m2: Any = 0.0
        self.maxValue: Any = float("-inf")
        self.minValue: Any = float("inf")
        if values is not None:
            self._merge_all(values)

    def merge(self, value: Any) -> "StatCounter":
        """Add a value."""
        self._merge_all((value,))
        return self

    def _merge_all(self, values: Iterable[Any]) -> None:
        n, mu, m2, largest, smallest = self.n, self.mu, self.m2, self.maxValue, self.minValue
        for value in values:
            delta = value - mu
            n += 1
            # Not in place: an array that came in must stay as it is.
            mu = mu + delta / n
            m2 = m2 + delta * (value - mu)
            if type(value) in _PLAIN and type(largest) is float:
                # So put that NaN, of which no comparison is true, stays once it has come.
                if not value <= largest and largest == largest:
                    largest = float(value)
                if not value >= smallest and smallest == smallest:
                    smallest = float(value)
            else:
                largest, smallest = _pick("maximum", largest, value), _pick("minimum", smallest, value)
        self.n, self.mu, self.m2, self.maxValue, self.minValue = n, mu, m2, largest, smallest

    def mergeStats(self, other: "StatCounter") -> "StatCounter":
        """Add all that another has counted.

        Raises:
            TypeError: It is no StatCounter.
        """
        if not isinstance(other, StatCounter):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"Can only merge StatCounter but got {type(other)}")
        if other.n == 0:
            return self
        if self.n == 0:
            self.n, self.mu, self.m2 = other.n, other.mu, other.m2
            self.maxValue, self.minValue = other.maxValue, other.minValue
            return self
        n = self.n + other.n
        delta = other.mu - self.mu
        m2 = self.m2 + (other.m2 + (delta * delta * self.n * other.n) / n)
        if other.n * _LOPSIDED < self.n:
            self.mu = self.mu + (delta * other.n) / n
        elif self.n * _LOPSIDED < other.n:
            self.mu = other.mu - (delta * self.n) / n
        else:
            self.mu = (self.mu * self.n + other.mu * other.n) / n
        self.m2, self.n = m2, n
        self.maxValue = _pick("maximum", self.maxValue, other.maxValue)
        self.minValue = _pick("minimum", self.minValue, other.minValue)
        return self

    def copy(self) -> "StatCounter":
        """Another that has counted the same."""
        return deepcopy(self)

    def count(self) -> int:
        """How many values."""
        return self.n

    def mean(self) -> Any:
        """Their mean; 0.0 where there are none."""
        return self.mu

    def sum(self) -> Any:
        """Their sum, by way of the mean."""
        return self.n * self.mu

    def min(self) -> Any:
        """The smallest; inf where there are none."""
        return self.minValue

    def max(self) -> Any:
        """The largest; -inf where there are none."""
        return self.maxValue

    def variance(self) -> Any:
        """Of these values as all there are; NaN where there are none."""
        return self.m2 / self.n if self.n else float("nan")

    def sampleVariance(self) -> Any:
        """Of all values, judged by these as a sample: divided by n - 1. NaN below two."""
        return self.m2 / (self.n - 1) if self.n > 1 else float("nan")

    def stdev(self) -> Any:
        """The square root of `variance`."""
        return _root(self.variance())

    def sampleStdev(self) -> Any:
        """The square root of `sampleVariance`."""
        return _root(self.sampleVariance())

    def asDict(self, sample: bool = False) -> dict[str, Any]:
        """All as a dictionary.

        Args:
            sample: As in PySpark, True means what `stdev` and `variance` give, False what `sampleStdev` and `sampleVariance` do.
        """
        return {
            "count": self.count(),
            "mean": self.mean(),
            "sum": self.sum(),
            "min": self.min(),
            "max": self.max(),
            "stdev": self.stdev() if sample else self.sampleStdev(),
            "variance": self.variance() if sample else self.sampleVariance(),
        }

    def __repr__(self) -> str:
        return (
            f"(count: {self.count()}, mean: {self.mean()}, stdev: {self.stdev()}, max: {self.max()}, min: {self.min()})"
        )


def _pick(which: str, one: Any, other: Any) -> Any:
    """The maximum or minimum of two; of arrays elementwise."""
    if hasattr(one, "__array_ufunc__") or hasattr(other, "__array_ufunc__"):
        # Whoever has an array has numpy loaded; nothing here asks for it.
        function: Callable[[Any, Any], Any] = getattr(sys.modules["numpy"], which)
        return function(one, other)
    if one != one or other != other:
        return one if one != one else other
    return max(one, other) if which == "maximum" else min(one, other)


def _root(value: Any) -> Any:
    if hasattr(value, "__array_ufunc__"):
        return sys.modules["numpy"].sqrt(value)
    return sqrt(value)
