"""`SparkContext`: where RDDs begin, and who runs their jobs."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from mesolite.executors.sparklite.nodes import Items
from mesolite.executors.sparklite.task import Task

from .call_site import call_site
from .conf import SparkConf
from .errors import ClosureError
from .lineage import Lineage
from .partitioner import Partitioner
from .rdd import RDD
from .simple_runner import SimpleRunner


class SparkContext:
    """See `pyspark.SparkContext`."""

    def __init__(self, master: str | None = None, appName: str | None = None, conf: SparkConf | None = None) -> None:
        self._conf = conf or SparkConf()
        self._rdd_ids = itertools.count()
        self._shuffle_ids = itertools.count()
        self._runner = SimpleRunner()
        self.defaultParallelism = 2
        self.shuffle_compress = True

    def __reduce__(self) -> NoReturn:
        raise ClosureError(
            "the SparkContext cannot be used inside a function that runs on workers, and yours refers to it: "
            "only the driver can use it. Take what you need of it into a variable first"
        )

    def parallelize(self, c: Iterable[Any], numSlices: int | None = None) -> RDD[Any]:
        """Make an RDD of a collection."""
        import pickle

        items = list(c)
        slices = numSlices or self.defaultParallelism
        cuts = [len(items) * i // slices for i in range(slices + 1)]
        node = Items(self.next_rdd_id(), slices)
        inputs = [pickle.dumps(items[a:b], 5) for a, b in itertools.pairwise(cuts)]
        return self.new_rdd(Lineage(node, input_of=inputs.__getitem__, name=call_site()), None)

    # For RDDs

    def next_rdd_id(self) -> int:
        """A new RDD's number."""
        return next(self._rdd_ids)

    def next_shuffle_id(self) -> int:
        """A new shuffle's number."""
        return next(self._shuffle_ids)

    def new_rdd(self, lineage: Lineage, partitioner: Partitioner | None) -> RDD[Any]:
        """An RDD of this context."""
        return RDD[Any](self, lineage, partitioner)

    def run(
        self, lineage: Lineage, function: Callable[[Task, Iterator[Any]], Any], partitions: tuple[int, ...], name: str
    ) -> list[Any]:
        """Run a job: the function's value of each of the partitions, in their order."""
        return self._runner.run(lineage, function, partitions)
