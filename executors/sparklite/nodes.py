"""RDDs as workers know them: how the items of one partition come about, from the items of parents or from a leaf's input.

A stage is a tree of nodes whose leaves are inputs (slices of a collection, pieces of files, segments of shuffles). It is pickled
without what is different for each partition: that travels in `TaskSpec.inputs` of each task.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice, product
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

from .shuffle_data import ShuffleSpec
from .storage_level import StorageLevel

if TYPE_CHECKING:
    from .task import Task

#: What a pipelined step is: the partition's number and its items in, items out.
StepFunction = Callable[[int, Iterator[Any]], Iterable[Any]]


#: Items of each side that `cartesian` holds in memory.
_BATCH_ITEMS: Final = 1024


class Node:
    """One RDD.

    Args:
        rdd_id: Unique in the application.
        partitions: How many there are.
        parents: What `compute` reads, without those across a shuffle.
    """

    def __init__(self, rdd_id: int, partitions: int, parents: "tuple[Node, ...]" = ()) -> None:
        self.rdd_id: Final = rdd_id
        self.partitions: Final = partitions
        self.parents: Final = parents
        #: Set where it is persisted; read through `iterator`.
        self.level: StorageLevel | None = None
        #: Reads what a checkpoint saved. Workers get it in place of this node, which then needs no parents.
        self.saved: Leaf | None = None

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        return super().__reduce_ex__(protocol) if self.saved is None else (_instead, (self.saved,))

    def iterator(self, partition: int, task: "Task") -> Iterator[Any]:
        """Return the items of a partition: kept ones, or else computed, and kept if that is wanted."""
        if self.level is None:
            return self.compute(partition, task)
        return task.kept(self, partition)

    def compute(self, partition: int, task: "Task") -> Iterator[Any]:
        """Make the items of a partition."""
        raise NotImplementedError

    def needs(self, partition: int) -> "Sequence[tuple[Node, int]]":
        """Return which partitions of which parents `compute` reads: what the driver follows to the leaves."""
        return [(parent, partition) for parent in self.parents]


class Leaf(Node):
    """A node whose partitions come from `TaskSpec.inputs`. The driver knows what to put there (`Lineage.input_of`)."""

    def __init__(self, rdd_id: int, partitions: int) -> None:
        super().__init__(rdd_id, partitions)


class Items(Leaf):
    """`parallelize`: an input is the pickled list of the partition's items."""

    def compute(self, partition: int, task: "Task") -> Iterator[Any]:
        """See `Node`."""
        return iter(task.unpickled(task.input_of(self, partition)))


class Numbers(Leaf):
    """`range`: an input is (start, stop, step)."""

    def compute(self, partition: int, task: "Task") -> Iterator[Any]:
        """See `Node`."""
        return iter(range(*task.input_of(self, partition)))


class ReadBy(Leaf):
    """Files: `read(input)` makes the items of what the driver put there."""

    def __init__(self, rdd_id: int, partitions: int, read: Callable[[Any], Iterable[Any]]) -> None:
        super().__init__(rdd_id, partitions)
        self.read: Final = read

    def compute(self, partition: int, task: "Task") -> Iterator[Any]:
        """See `Node`."""
        return iter(self.read(task.input_of(self, partition)))


class ShuffleRead(Leaf):
    """The reduce side of a shuffle: an input is the tuple of `Segment`s of the partition, in order of the map partitions."""

    def __init__(
        self, rdd_id: int, spec: ShuffleSpec, order: Callable[[Any], Any] | None = None, *, descending: bool = False
    ) -> None:
        super().__init__(rdd_id, spec.partitions)
        self.spec: Final = spec
        #: Sort the pairs by this function of the key, spilling where memory is short; None: no order.
        self.order: Final = order
        self.descending: Final = descending

    def compute(self, partition: int, task: "Task") -> Iterator[Any]:
        """See `Node`."""
        return task.read_shuffle(self, task.input_of(self, partition))


class Step(Node):
    """`mapPartitionsWithIndex`, and so nearly everything: one function over the items of the same partition."""

    def __init__(self, rdd_id: int, parent: Node, function: StepFunction) -> None:
        super().__init__(rdd_id, parent.partitions, (parent,))
        self.function: Final = function

    def compute(self, partition: int, task: "Task") -> Iterator[Any]:
        """See `Node`."""
        return iter(self.function(partition, self.parents[0].iterator(partition, task)))


class Union(Node):
    """Partitions of the parents one after the other."""

    def __init__(self, rdd_id: int, parents: tuple[Node, ...]) -> None:
        super().__init__(rdd_id, sum(parent.partitions for parent in parents), parents)

    def needs(self, partition: int) -> Sequence[tuple[Node, int]]:
        """See `Node`."""
        for parent in self.parents:
            if partition < parent.partitions:
                return [(parent, partition)]
            partition -= parent.partitions
        raise IndexError(partition)

    def compute(self, partition: int, task: "Task") -> Iterator[Any]:
        """See `Node`."""
        [(parent, its)] = self.needs(partition)
        return parent.iterator(its, task)


class SamePlace(Node):
    """Union of parents that have the same partitioner: partition i is partition i of each, one after the other."""

    def __init__(self, rdd_id: int, parents: tuple[Node, ...]) -> None:
        super().__init__(rdd_id, parents[0].partitions, parents)

    def compute(self, partition: int, task: "Task") -> Iterator[Any]:
        """See `Node`."""
        return chain.from_iterable(parent.iterator(partition, task) for parent in self.parents)


class Grouped(Node):
    """`coalesce` without a shuffle: partition i is those of the parent that group i names, one after the other."""

    def __init__(self, rdd_id: int, parent: Node, groups: tuple[tuple[int, ...], ...]) -> None:
        super().__init__(rdd_id, len(groups), (parent,))
        self.groups: Final = groups

    def needs(self, partition: int) -> Sequence[tuple[Node, int]]:
        """See `Node`."""
        return [(self.parents[0], each) for each in self.groups[partition]]

    def compute(self, partition: int, task: "Task") -> Iterator[Any]:
        """See `Node`."""
        return chain.from_iterable(self.parents[0].iterator(each, task) for each in self.groups[partition])


class Cartesian(Node):
    """All pairs: partition i * right.partitions + j pairs partition i of the left with j of the right."""

    def __init__(self, rdd_id: int, left: Node, right: Node) -> None:
        super().__init__(rdd_id, left.partitions * right.partitions, (left, right))

    def needs(self, partition: int) -> Sequence[tuple[Node, int]]:
        """See `Node`."""
        left, right = self.parents
        return [(left, partition // right.partitions), (right, partition % right.partitions)]

    def compute(self, partition: int, task: "Task") -> Iterator[Any]:
        """See `Node`."""
        (left, its), (right, others) = self.needs(partition)
        # The right side is made once for each batch of the left, and not once for each item.
        return chain.from_iterable(
            product(batch, other_batch)
            for batch in _batches(left.iterator(its, task))
            for other_batch in _batches(right.iterator(others, task))
        )


class Zipped(Node):
    """`zip`: item by item of the same partition of both."""

    def __init__(self, rdd_id: int, left: Node, right: Node) -> None:
        super().__init__(rdd_id, left.partitions, (left, right))

    def compute(self, partition: int, task: "Task") -> Iterator[Any]:
        """See `Node`.

        Raises:
            ValueError: One partition has more items than the other.
        """
        left, right = (parent.iterator(partition, task) for parent in self.parents)
        end = object()
        for item in left:
            other = next(right, end)
            if other is end:
                raise ValueError("Can only zip with RDD which has the same number of elements in each partition")
            yield item, other
        if next(right, end) is not end:
            raise ValueError("Can only zip with RDD which has the same number of elements in each partition")


def _instead(node: Node) -> Node:
    """What a node that was saved is unpickled as."""
    return node


def _batches(items: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(items, _BATCH_ITEMS)):
        yield batch
