"""`SparkContext`: put together from its parts; each is a file of its own.

reading.py     where RDDs begin
reporting.py   what happens in it: progress, reports, status
context.py     its life
"""

from collections.abc import Callable, Iterator
from typing import Any

from mesolite.executors.sparklite.task import Task

from .conf import SparkConf
from .lineage import Lineage
from .reading import Reading
from .reporting import Reporting
from .simple_runner import SimpleRunner


class SparkContext(Reading, Reporting):
    """See `pyspark.SparkContext`."""

    def __init__(self, master: str | None = None, appName: str | None = None, conf: SparkConf | None = None) -> None:
        super().__init__(conf or SparkConf())
        self._runner = SimpleRunner()

    @property
    def defaultParallelism(self) -> int:
        """See `ContextBase`."""
        return 2

    @property
    def shuffle_compress(self) -> bool:
        """See `ContextBase`."""
        return True

    def run(
        self, lineage: Lineage, function: Callable[[Task, Iterator[Any]], Any], partitions: tuple[int, ...], name: str
    ) -> list[Any]:
        """See `ContextBase`."""
        return self._runner.run(lineage, function, partitions)
