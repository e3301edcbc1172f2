"""A weighted lottery: each run draws an order in which a sibling of twice the weight comes first twice as often.

What clients hold does not matter. The lottery forgets who declined how often, which is why Mesos offers it to clusters with
many picky frameworks (`sorter/random/sorter.cpp`, MESOS-8936). Siblings are shuffled at each level of the tree.

The lots are drawn from a seed that the constructor is given, and counted: the same runs give the same orders.
"""

from collections.abc import Iterator
from hashlib import blake2b

from .sorter import Scalars, Totals
from .tree import ClientTree, Node, place


class RandomSorter:
    """See `Sorter`."""

    def __init__(self, totals: Totals, name: str = "", *, seed: int = 0) -> None:
        """Make an empty sorter.

        Args:
            totals: Unused: a lottery knows no shares.
            name: Of the tree, so that sorters with one seed draw different lots.
            seed: Fixes every lot that will be drawn.
        """
        self._tree = ClientTree()
        self._seed = f"{seed}/{name}/".encode()
        self._draws = 0
        self._drawn = False

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
        self._drawn = False

    def order(self) -> Iterator[str]:
        """See `Sorter`."""
        self._refresh()
        return self._tree.leaves_in_order()

    def rank(self, client: str) -> tuple[object, ...]:
        """See `Sorter`."""
        self._refresh()
        return self._tree.rank(client)

    def check(self) -> None:
        """See `Sorter`."""
        self._tree.check()

    def _refresh(self) -> None:
        """Shuffle once per run, and again when somebody joins or leaves."""
        joined_or_left = any(node.active != (node.entry is not None) for node in self._tree.changed if node.parent)
        self._tree.changed.clear()
        if self._drawn and not joined_or_left:
            return
        self._drawn = True
        for node in [self._tree.root, *self._tree.nodes()]:
            if node.children:
                self._shuffle(node)

    def _shuffle(self, parent: Node) -> None:
        """Draw the children one by one, each with a chance in proportion to its weight."""
        parent.ranked.clear()
        waiting = [child for _, child in sorted(parent.children.items())]
        for child in waiting:
            child.entry = None
        waiting = [child for child in waiting if child.active]
        position = 0
        while waiting:
            lot = self._draw(sum(child.weight_milli for child in waiting))
            index = 0
            while lot >= waiting[index].weight_milli:
                lot -= waiting[index].weight_milli
                index += 1
            place(waiting.pop(index), position)
            position += 1

    def _draw(self, below: int) -> int:
        """An integer from 0 up to `below`. 128 bits leave no bias worth naming."""
        self._draws += 1
        digest = blake2b(self._seed + str(self._draws).encode(), digest_size=16).digest()
        return int.from_bytes(digest, "big") % below
