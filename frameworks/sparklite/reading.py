"""Where RDDs begin: collections, numbers, files, and others put together."""

import itertools
import pickle
from collections.abc import Iterable
from typing import Any

from mesolite.executors.sparklite.nodes import Items

from .call_site import call_site
from .context_base import ContextBase
from .lineage import Lineage
from .rdd import RDD


class Reading(ContextBase):
    """Part of `SparkContext`."""

    def parallelize(self, c: Iterable[Any], numSlices: int | None = None) -> RDD[Any]:
        """Make an RDD of a collection."""
        items = list(c)
        slices = numSlices or self.defaultParallelism
        cuts = [len(items) * i // slices for i in range(slices + 1)]
        node = Items(self.next_rdd_id(), slices)
        inputs = [pickle.dumps(items[a:b], 5) for a, b in itertools.pairwise(cuts)]
        return self.new_rdd(Lineage(node, input_of=inputs.__getitem__, name=call_site()), None)
