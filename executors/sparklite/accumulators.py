"""Accumulators: tasks add, the driver reads. `pyspark.accumulators`' names and meaning.

What a task adds stays with the task and travels in its end (`TaskDone.accumulators`); the driver counts it once for each task
whose work it accepts. So additions of tasks that failed, and of the slower of two copies, do not count.
"""

import threading
from copy import deepcopy
from typing import Any, Final, Generic, TypeVar

from . import current

T = TypeVar("T")


class AccumulatorParam(Generic[T]):
    """How values of a type are added; to be subclassed for types of one's own."""

    def zero(self, value: T) -> T:
        """Return the value from which additions begin, of the same shape as `value`."""
        raise NotImplementedError

    def addInPlace(self, value1: T, value2: T) -> T:
        """Return the sum; may change `value1` and return it."""
        raise NotImplementedError


class AddingAccumulatorParam(AccumulatorParam[T]):
    """Adds with `+`.

    Args:
        zero_value: Where additions begin.
    """

    def __init__(self, zero_value: T) -> None:
        self.zero_value = zero_value

    def zero(self, value: T) -> T:
        """See `AccumulatorParam`."""
        return self.zero_value

    def addInPlace(self, value1: T, value2: T) -> T:
        """See `AccumulatorParam`."""
        value1 += value2  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue] - numbers, lists, ...
        return value1


class Accumulator(Generic[T]):
    """See `pyspark.Accumulator`. Made by `SparkContext.accumulator`.

    One class for both ends, because a method that is sent (`rdd.foreach(total.add)`) is sent as the class's.

    Args:
        aid: Its number, unique in the driver's process.
        value: The value that it begins with.
        accum_param: How values are added.
    """

    def __init__(self, aid: int, value: T, accum_param: AccumulatorParam[T]) -> None:
        self.aid: Final = aid
        self.accum_param: Final = accum_param
        #: The sum; of one that was sent, where each task begins.
        self._value = value
        #: It is in a worker: tasks can add to it, and not read it.
        self._sent = False
        #: On the driver the scheduler's thread adds as well.
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _sent, (self.aid, self.accum_param.zero(self._value), self.accum_param)

    @property
    def value(self) -> T:
        """The sum; on the driver only.

        Raises:
            RuntimeError: This is a worker.
        """
        self._check_on_driver()
        return self._value

    @value.setter
    def value(self, value: T) -> None:
        self._check_on_driver()
        self._value = value

    def _check_on_driver(self) -> None:
        if self._sent:
            raise RuntimeError(
                "Value `Accumulator.value` cannot be accessed inside tasks: they can only add to it; read it on the driver"
            )

    def add(self, term: T) -> None:
        """Add a term; in a worker, in the name of the task that runs there.

        Raises:
            RuntimeError: It was sent to a worker, and no task runs.
        """
        if self._sent:
            self._add_in_task(term)
            return
        with self._lock:
            self._value = self.accum_param.addInPlace(self._value, term)

    def _add_in_task(self, term: T) -> None:
        task = current.task()
        if task is None:
            raise RuntimeError("an accumulator that was sent to workers can only be added to by tasks")
        sums = task.accumulators
        # Each task begins from zero, and may change in place what it has.
        total = sums[self.aid] if self.aid in sums else deepcopy(self._value)
        sums[self.aid] = self.accum_param.addInPlace(total, term)

    def __iadd__(self, term: T) -> "Accumulator[T]":
        self.add(term)
        return self

    def __str__(self) -> str:
        task = current.task() if self._sent else None
        return str(self._value if task is None else task.accumulators.get(self.aid, self._value))

    def __repr__(self) -> str:
        return f"Accumulator<id={self.aid}, value={self}>"


def _sent(aid: int, zero: T, accum_param: AccumulatorParam[T]) -> Accumulator[T]:
    """Make a worker's end of an accumulator."""
    made = Accumulator(aid, zero, accum_param)
    made._sent = True  # pyright: ignore[reportPrivateUsage]
    return made
