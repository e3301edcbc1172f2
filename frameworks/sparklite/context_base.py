"""What all parts of `SparkContext` build on: its settings, numbers for RDDs and shuffles, and running a job."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, cast

from mesolite.executors.sparklite.task import Task

from .checkpoints import Checkpoints
from .conf import SparkConf
from .errors import ClosureError
from .lineage import Lineage
from .partitioner import Partitioner
from .rdd import RDD

if TYPE_CHECKING:
    from .context import SparkContext


class ContextBase(ABC):
    """A context without its operations. `context.SparkContext` is what users see.

    Args:
        conf: Its settings; from here on its own.
    """

    def __init__(self, conf: SparkConf) -> None:
        self._conf = conf
        self._rdd_ids = itertools.count()
        self._shuffle_ids = itertools.count()
        #: RDDs that are to be saved, and where.
        self.checkpoints = Checkpoints()

    def __reduce__(self) -> NoReturn:
        raise ClosureError(
            "the SparkContext cannot be used inside a function that runs on workers, and yours refers to it: "
            "only the driver can use it. Take what you need of it into a variable first"
        )

    @property
    @abstractmethod
    def defaultParallelism(self) -> int:
        """Default level of parallelism when not given by user."""

    @property
    @abstractmethod
    def shuffle_compress(self) -> bool:
        """Whether shuffles are compressed (spark.shuffle.compress)."""

    @abstractmethod
    def run(
        self, lineage: Lineage, function: Callable[[Task, Iterator[Any]], Any], partitions: tuple[int, ...], name: str
    ) -> list[Any]:
        """Run a job: the function's value of each of the partitions, in their order."""

    def unpersist(self, rdd_id: int) -> None:
        """Drop what is kept of an RDD: `RDD.unpersist` has said that it is not persisted any more."""
        del rdd_id  # who keeps nothing has nothing to drop

    @property
    def defaultMinPartitions(self) -> int:
        """Default min number of partitions for Hadoop RDDs when not given by user."""
        return min(self.defaultParallelism, 2)

    # For RDDs

    def reduce_partitions(self, of_parents: int) -> int:
        """Partitions of a shuffle for which nobody said how many: `defaultParallelism` if spark.default.parallelism is set."""
        return self.defaultParallelism if self._conf.contains("spark.default.parallelism") else of_parents

    def next_rdd_id(self) -> int:
        """A new RDD's number."""
        return next(self._rdd_ids)

    def next_shuffle_id(self) -> int:
        """A new shuffle's number."""
        return next(self._shuffle_ids)

    def new_rdd(self, lineage: Lineage, partitioner: Partitioner | None) -> RDD[Any]:
        """An RDD of this context."""
        return RDD[Any](cast("SparkContext", self), lineage, partitioner)
