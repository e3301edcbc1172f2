"""The accumulators of a context: made here, and given what tasks have added."""

import itertools
import threading
from collections.abc import Mapping
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from mesolite.executors.sparklite.accumulators import Accumulator, AccumulatorParam, AddingAccumulatorParam

T = TypeVar("T")

#: Unique in the process: two contexts, one after the other, may meet the same worker threads.
_IDS: Final = itertools.count()
#: In this order, because a bool is an int, too.
_ZEROS: Final[tuple[int | float | complex, ...]] = (0, 0.0, 0j)


class AccumulatorRegistry:
    """Knows accumulators as long as the program has them. For use from several threads."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._known: Final[WeakValueDictionary[int, Accumulator[Any]]] = WeakValueDictionary()

    def new(self, value: T, accum_param: AccumulatorParam[T] | None = None) -> Accumulator[T]:
        """Make one: what `SparkContext.accumulator` does.

        Args:
            value: What it begins with.
            accum_param: How values are added; None: numbers, with `+`.

        Raises:
            TypeError: There is no such param, and the value is no number.
        """
        param = accum_param if accum_param is not None else _param_for(value)
        made = Accumulator(next(_IDS), value, param)
        with self._lock:
            self._known[made.aid] = made
        return made

    def merge(self, additions: Mapping[int, Any]) -> None:
        """Count what a task has added (`TaskDone.accumulators`): once for each task whose work is accepted.

        Raises:
            Exception: Whatever the `addInPlace` of a param of the user's raises.
        """
        for aid in sorted(additions):
            with self._lock:
                known = self._known.get(aid)
            # Those that the program has forgotten nobody can read.
            if known is not None:
                known.add(additions[aid])


def _param_for(value: Any) -> AccumulatorParam[Any]:
    for zero in _ZEROS:
        if isinstance(value, type(zero)):
            return AddingAccumulatorParam(zero)
    raise TypeError(
        f"No default accumulator param for type {type(value)}: give accum_param, an AccumulatorParam that says how to add"
    )
