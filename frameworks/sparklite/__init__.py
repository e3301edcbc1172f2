"""sparklite: PySpark's RDD programs on the cluster by changing an import.

from mesolite.frameworks.sparklite import SparkConf, SparkContext
"""

from mesolite.executors.sparklite.task_context import BarrierTaskContext, BarrierTaskInfo, TaskContext

from .conf import SparkConf
from .context import SparkContext
from .rdd import RDD

__all__ = ["RDD", "BarrierTaskContext", "BarrierTaskInfo", "SparkConf", "SparkContext", "TaskContext"]
