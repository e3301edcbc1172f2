"""`BoundedFloat`: what approximate actions answer."""

from typing import Self


class BoundedFloat(float):
    """A number, and between which it lies with what confidence. See `pyspark.core.rdd.BoundedFloat`."""

    confidence: float
    low: float
    high: float

    def __new__(cls, mean: float, confidence: float, low: float, high: float) -> Self:
        made = super().__new__(cls, mean)
        made.confidence = confidence
        made.low = low
        made.high = high
        return made

    def __getnewargs__(self) -> tuple[float, float, float, float]:  # type: ignore[override]
        return float(self), self.confidence, self.low, self.high
