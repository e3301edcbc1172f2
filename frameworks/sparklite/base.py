"""What all parts of the RDD class build on: an RDD's identity, and the four ways to make another of it.

step     one function over each partition's items           Step
shuffled pairs go to the partition of their key             ShuffleRead
combined several RDDs are read by one                       Union, SamePlace, Zipped, Cartesian, Grouped
run      a function's value of each partition, to the driver
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from mesolite.executors.sparklite.nodes import Node, ShuffleRead, Step, StepFunction
from mesolite.executors.sparklite.shuffle_data import Aggregator, ShuffleSpec
from mesolite.executors.sparklite.task import Task

from .call_site import call_site
from .errors import ClosureError
from .lineage import Lineage, Shuffle
from .partitioner import Partitioner

if TYPE_CHECKING:
    from .context import SparkContext
    from .rdd import RDD

T_co = TypeVar("T_co", covariant=True)


class RddBase(Generic[T_co]):
    """An RDD without its operations. `rdd.RDD` is what users see.

    Args:
        ctx: The context that made it.
        lineage: How it comes about.
        partitioner: By which its keys are placed, where that is known.
    """

    def __init__(self, ctx: "SparkContext", lineage: Lineage, partitioner: Partitioner | None = None) -> None:
        self.ctx = ctx
        self.partitioner = partitioner
        self._lineage = lineage

    def __reduce__(self) -> NoReturn:
        raise ClosureError(
            "an RDD cannot be used inside a function that runs on workers, nor in another RDD's items: "
            "only the driver can start jobs. Collect what you need first, or broadcast it (sc.broadcast)"
        )

    @property
    def context(self) -> "SparkContext":
        """The context that made it."""
        return self.ctx

    @property
    def lineage(self) -> Lineage:
        """How it comes about: for sparklite's own parts, not for programs."""
        return self._lineage

    def id(self) -> int:
        """A number, unique in the context."""
        return self._lineage.node.rdd_id

    def getNumPartitions(self) -> int:
        """How many partitions there are.

        Raises:
            SparkError: An input that it needs is not there.
        """
        if self._lineage.trouble is not None:
            raise self._lineage.trouble
        return self._lineage.node.partitions

    def _reduce_partitions(self, of_parents: int | None = None) -> int:
        """How many partitions a shuffle makes where the user does not say: PySpark's `_defaultReducePartitions`.

        Args:
            of_parents: What it reads has so many; None: this RDD is all it reads.
        """
        return self.ctx.reduce_partitions(self.getNumPartitions() if of_parents is None else of_parents)

    # Making others of it

    def _step(self, function: StepFunction, *, preserves: bool = False, name: str | None = None) -> "RDD[Any]":
        """One function over the items of each partition: (number of the partition, items) -> items.

        Args:
            function: Must be found by workers: from `mesolite.executors.sparklite`, or the user's own.
            preserves: Keys stay where they are, and so does the partitioner.
            name: The operation's, for people; None: of the public method that was called.
        """
        node = Step(self.ctx.next_rdd_id(), self._lineage.node, function)
        return self._made(node, (self,), self.partitioner if preserves else None, name)

    def _shuffled(
        self,
        partitioner: Partitioner,
        *,
        aggregator: Aggregator | None = None,
        map_side_combine: bool = True,
        order: Callable[[Any], Any] | None = None,
        descending: bool = False,
        name: str | None = None,
    ) -> "RDD[Any]":
        """Pairs of this RDD in partitions by their keys; combined, or in order of keys within partitions, if asked for."""
        spec = ShuffleSpec(
            shuffle_id=self.ctx.next_shuffle_id(),
            partitions=partitioner.numPartitions,
            partition_of=partitioner.partitionFunc,
            aggregator=aggregator,
            map_side_combine=map_side_combine,
            compress=self.ctx.shuffle_compress,
        )
        node = ShuffleRead(self.ctx.next_rdd_id(), spec, order, descending=descending)
        made = self._made(node, (), partitioner, name)
        made._lineage.shuffle = Shuffle(spec, self._lineage)
        made._lineage.trouble = self._lineage.trouble
        return made

    def _combined(
        self,
        node: Node,
        parents: "Sequence[RddBase[Any]]",
        partitioner: Partitioner | None = None,
        name: str | None = None,
    ) -> "RDD[Any]":
        """An RDD that reads several; `parents` in the order of the node's."""
        return self._made(node, parents, partitioner, name)

    def _made(
        self, node: Node, parents: "Sequence[RddBase[Any]]", partitioner: Partitioner | None, name: str | None
    ) -> "RDD[Any]":
        trouble = next((parent._lineage.trouble for parent in parents if parent._lineage.trouble is not None), None)
        lineage = Lineage(node, tuple(parent._lineage for parent in parents), name=call_site(name), trouble=trouble)
        return self.ctx.new_rdd(lineage, partitioner)

    # Running

    def _run(
        self,
        function: Callable[[Task, Iterator[Any]], Any],
        partitions: Iterable[int] | None = None,
        *,
        name: str | None = None,
    ) -> list[Any]:
        """Return the function's value of each partition, in the order of `partitions` (all where None)."""
        wanted = range(self.getNumPartitions()) if partitions is None else partitions
        values = self.ctx.run(self._lineage, function, tuple(wanted), call_site(name))
        self.ctx.checkpoints.save_marked(self._lineage, self.ctx)
        return values

    def _self(self) -> "RDD[T_co]":
        return cast("RDD[T_co]", self)
