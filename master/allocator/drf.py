"""Dominant-resource fairness: whoever holds the smallest dominant share, for its weight, is next (Ghodsi et al., NSDI 2011).

    share(node) = max over scalar names of held / total, divided by the node's weight

Siblings are compared at each level of the tree, an inner node by what all below it hold: Mesos's naive hierarchy
(`sorter/drf/sorter.cpp`). Equal shares: fewer gifts ever first, then the path.

Shares are compared exactly. Multiplied by the product of all totals they are integers, so most comparisons are of two
integers; a weight other than 1 makes its node's key a fraction, which Python compares with integers exactly. Mesos's binary
doubles can order two equal shares differently (reference trap 20).

Keys are brought up to date only when somebody asks for the order: a burst of recoveries between two runs costs each node
one new place, whatever their number.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import prod

from .sorter import DEFAULT_WEIGHT_MILLI, Scalars, Totals
from .tree import ClientTree, Node, place


class DrfSorter:
    """See `Sorter`."""

    def __init__(self, totals: Totals, name: str = "") -> None:
        """Make an empty sorter.

        Args:
            totals: What shares are measured against; kept by the allocator.
            name: Unused: this sorter draws no lots.
        """
        self._totals = totals
        self._tree = ClientTree()
        #: The version of the totals that `_scale` and every key are for.
        self._version = -1
        #: Per name: the product of all totals but its own. Held times scale compares as held divided by total.
        self._scale: dict[str, int] = {}

    def add(self, client: str) -> None:
        """See `Sorter`."""
        self._tree.add(client)

    def remove(self, client: str) -> None:
        """See `Sorter`."""
        self._tree.remove(client)

    def __contains__(self, client: str) -> bool:
        """See `Sorter`."""
        return client in self._tree.leaves

    def activate(self, client: str) -> None:
        """See `Sorter`."""
        self._tree.set_active(client, True)

    def deactivate(self, client: str) -> None:
        """See `Sorter`."""
        self._tree.set_active(client, False)

    def set_weight(self, path: str, weight_milli: int) -> None:
        """See `Sorter`."""
        self._tree.set_weight(path, weight_milli)

    def allocated(self, client: str, scalars: Scalars) -> None:
        """See `Sorter`."""
        self._tree.allocated(client, scalars)

    def recovered(self, client: str, scalars: Scalars) -> None:
        """See `Sorter`."""
        self._tree.recovered(client, scalars)

    def begin_run(self) -> None:
        """See `Sorter`."""

    def order(self) -> Iterator[str]:
        """See `Sorter`."""
        self._refresh()
        return self._tree.leaves_in_order()

    def rank(self, client: str) -> tuple[object, ...]:
        """See `Sorter`."""
        self._refresh()
        return self._tree.rank(client)

    def share(self, client: str) -> Fraction:
        """A client's dominant share, before weights: of all there is, the part it holds of what it holds most of."""
        held = self._tree.leaves[client].allocation
        totals = self._totals.amounts
        return max(
            (Fraction(amount, totals[name]) for name, amount in held.items() if name in totals), default=Fraction(0)
        )

    def check(self) -> None:
        """See `Sorter`."""
        self._tree.check()
        self._refresh()
        for node in self._tree.nodes():
            if node.active:
                assert node.entry is not None, f"{node.path} is active and has no place"
                assert node.entry[:2] == (self._key(node), node.count), f"{node.path} stands in an old place"
            ranked = node.parent.ranked if node.parent else []
            assert ranked == sorted(ranked), f"the siblings of {node.path} are out of order"

    def _refresh(self) -> None:
        """Bring every place up to date."""
        tree = self._tree
        if self._version != self._totals.version:
            self._rescale()
        elif tree.changed:
            for node in tree.changed:
                place(node, self._key(node))
        tree.changed.clear()

    def _rescale(self) -> None:
        """The totals changed: every key is of another scale, so the rankings are made anew."""
        self._version = self._totals.version
        product = prod(self._totals.amounts.values())
        self._scale = {name: product // total for name, total in self._totals.amounts.items()}
        for node in self._tree.nodes():
            node.entry = None
            node.ranked.clear()
        self._tree.root.ranked.clear()
        for node in self._tree.nodes():
            place(node, self._key(node))

    def _key(self, node: Node) -> int | Fraction:
        scale = self._scale
        dominant = 0
        for name, amount in node.allocation.items():
            # What no agent has any more (its agent is being removed) has no share.
            key = amount * scale.get(name, 0)
            if key > dominant:
                dominant = key
        if node.weight_milli == DEFAULT_WEIGHT_MILLI:
            return dominant
        return Fraction(dominant * DEFAULT_WEIGHT_MILLI, node.weight_milli)
