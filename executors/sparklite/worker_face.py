"""What workers find where programs import `mesolite.frameworks.sparklite` (entry.py): all that functions may name.

Whatever else stands there belongs to the driver. It can be imported here as well, because a module that is sent to workers
(`addPyFile`) imports it at its top and means it for the driver; to make one of it here is the mistake that it is.
"""

from typing import Any

from .accumulators import Accumulator, AccumulatorParam, AddingAccumulatorParam
from .broadcast import Broadcast
from .result_iterable import ResultIterable
from .spark_files import SparkFiles
from .stat_counter import StatCounter
from .storage_level import StorageLevel
from .task_context import BarrierTaskContext, BarrierTaskInfo, TaskContext

__all__ = [
    "Accumulator",
    "AccumulatorParam",
    "AddingAccumulatorParam",
    "BarrierTaskContext",
    "BarrierTaskInfo",
    "Broadcast",
    "ResultIterable",
    "SparkFiles",
    "StatCounter",
    "StorageLevel",
    "TaskContext",
]


class OnlyOnTheDriver:
    """Stands for something that workers do not have."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            f"{type(self).__name__} can only be made and used on the driver, and this is a worker: take what you need of it "
            "into a variable before, or broadcast it"
        )


def __getattr__(name: str) -> Any:
    """Whatever the driver has besides."""
    if name.startswith("_"):
        raise AttributeError(name)
    return type(name, (OnlyOnTheDriver,), {"__module__": __name__})
