"""sparklite: PySpark's RDD programs on the cluster by changing an import.

from mesolite.frameworks.sparklite import SparkConf, SparkContext
"""

from .conf import SparkConf
from .context import SparkContext
from .rdd import RDD

__all__ = ["RDD", "SparkConf", "SparkContext"]
