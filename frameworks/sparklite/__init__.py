"""sparklite: PySpark's RDD programs on the cluster by changing an import.

from mesolite.frameworks.sparklite import SparkConf, SparkContext
"""

from mesolite.executors.sparklite.accumulators import Accumulator, AccumulatorParam, AddingAccumulatorParam
from mesolite.executors.sparklite.broadcast import Broadcast
from mesolite.executors.sparklite.result_iterable import ResultIterable
from mesolite.executors.sparklite.spark_files import SparkFiles
from mesolite.executors.sparklite.stat_counter import StatCounter
from mesolite.executors.sparklite.storage_level import StorageLevel
from mesolite.executors.sparklite.task_context import BarrierTaskContext, BarrierTaskInfo, TaskContext

from .bounded_float import BoundedFloat
from .conf import SparkConf
from .context import SparkContext
from .rdd import RDD

__all__ = [
    "RDD",
    "Accumulator",
    "AccumulatorParam",
    "AddingAccumulatorParam",
    "BarrierTaskContext",
    "BarrierTaskInfo",
    "BoundedFloat",
    "Broadcast",
    "ResultIterable",
    "SparkConf",
    "SparkContext",
    "SparkFiles",
    "StatCounter",
    "StorageLevel",
    "TaskContext",
]
