"""The tree of clients that sorters share: paths, weights, and which branches have somebody to serve.

    (root)
      +-- eng            inner: has clients below it
      |    +-- .         the virtual leaf: the client `eng` itself, a sibling of its sub-roles, with weight 1
      |    +-- web       leaf: the client `eng/web`
      +-- ops            leaf: the client `ops`

A client with nothing below it is a leaf under its own name. When a sub-role arrives it becomes an inner node and its books
move into the virtual leaf; when the last sub-role leaves they move back (mesos `sorter/drf/sorter.cpp`). An inner node's
books are the sums over its leaves.

A node is active where it is an active client or has an active node below it.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from fractions import Fraction
from typing import Final, TypeAlias

from .sorter import DEFAULT_WEIGHT_MILLI, Scalars, subtract_from

#: No component of a role can be ".", so it is free for the virtual leaf.
VIRTUAL_LEAF: Final = "."


class Node:
    """A place in the tree."""

    __slots__ = (
        "active",
        "active_children",
        "allocation",
        "children",
        "client",
        "count",
        "entry",
        "name",
        "parent",
        "path",
        "ranked",
        "weight_milli",
    )

    def __init__(self, name: str, path: str, parent: "Node | None") -> None:
        self.name = name
        #: From the root: "eng/web", "eng/.".
        self.path = path
        self.parent = parent
        self.weight_milli = DEFAULT_WEIGHT_MILLI
        self.children: dict[str, Node] = {}
        #: The client that this leaf stands for; None for inner nodes.
        self.client: str | None = None
        self.active = False
        #: How many of `children` are active.
        self.active_children = 0
        #: What is held here and below.
        self.allocation: dict[str, int] = {}
        #: How many gifts were ever made here and below: the second criterion of fairness.
        self.count = 0
        #: The sorter's: this node's place among its siblings, and the places of its active children in order.
        self.entry: Entry | None = None
        self.ranked: list[Entry] = []


#: What siblings are ordered by (the smallest is served first), how many gifts they had, their path, and the node itself,
#: which is never compared because paths differ.
Entry: TypeAlias = tuple[int | Fraction, int, str, Node]


class ClientTree:
    """Clients by path. `changed` holds the nodes whose books, weight or activity changed since somebody last cleared it."""

    def __init__(self) -> None:
        self.root = Node("", "", None)
        #: Each client's leaf.
        self.leaves: dict[str, Node] = {}
        self.changed: dict[Node, None] = {}
        self._weights: dict[str, int] = {}

    def add(self, client: str) -> None:
        """Make a leaf for a client."""
        assert client not in self.leaves, f"client {client} is added twice"
        node = self.root
        for part in client.split("/"):
            if node.client is not None:
                self._push_down(node)
            node = node.children.get(part) or self._child(node, part)
        if node.children:
            node = self._child(node, VIRTUAL_LEAF)
        node.client = client
        self.leaves[client] = node

    def remove(self, client: str) -> None:
        """Cut a client's leaf, and the branches that bear nothing any more."""
        node: Node | None = self.leaves.pop(client)
        assert node is not None
        assert not node.active, f"client {client} is removed while active"
        assert not node.allocation, f"client {client} is removed while it holds {node.allocation}"
        node.client = None
        while node.parent is not None and not node.children and node.client is None:
            displace(node)
            self.changed.pop(node, None)
            del node.parent.children[node.name]
            node = node.parent
        if list(node.children) == [VIRTUAL_LEAF]:
            self._pull_up(node)

    def set_active(self, client: str, active: bool) -> None:
        """Let a client take part, or not; may be repeated."""
        self._set_node_active(self.leaves[client], active)

    def set_weight(self, path: str, weight_milli: int) -> None:
        """Weigh a path, now and when it comes."""
        assert weight_milli >= 1, f"weight of {path} is {weight_milli} thousandths"
        self._weights[path] = weight_milli
        node: Node | None = self.root
        for part in path.split("/"):
            node = node.children.get(part) if node else None
        if node is not None:
            node.weight_milli = weight_milli
            self.changed[node] = None

    def allocated(self, client: str, scalars: Scalars) -> None:
        """Count a gift from the leaf up."""
        node: Node | None = self.leaves[client]
        while node is not None:
            allocation = node.allocation
            for name, amount in scalars.items():
                allocation[name] = allocation.get(name, 0) + amount
            node.count += 1
            self.changed[node] = None
            node = node.parent

    def recovered(self, client: str, scalars: Scalars) -> None:
        """Take away from the leaf up."""
        node: Node | None = self.leaves[client]
        while node is not None:
            subtract_from(node.allocation, scalars)
            self.changed[node] = None
            node = node.parent

    def nodes(self) -> Iterator[Node]:
        """Every node but the root, parents first."""
        pending = [self.root]
        while pending:
            node = pending.pop()
            pending.extend(node.children.values())
            if node.parent is not None:
                yield node

    def leaves_in_order(self) -> Iterator[str]:
        """Active clients, by the rankings as they are: depth first."""
        pending = [iter(self.root.ranked)]
        while pending:
            entry = next(pending[-1], None)
            if entry is None:
                pending.pop()
            elif entry[3].client is not None:
                yield entry[3].client
            else:
                pending.append(iter(entry[3].ranked))

    def rank(self, client: str) -> tuple[Entry, ...]:
        """An active client's places from the root down: compares as `leaves_in_order` goes."""
        entries: list[Entry] = []
        node: Node | None = self.leaves[client]
        while node is not None and node.entry is not None:
            entries.append(node.entry)
            node = node.parent
        entries.reverse()
        return tuple(entries)

    def check(self) -> None:
        """Assert that inner nodes sum up their children."""
        for node in [self.root, *self.nodes()]:
            assert (node.client is None) or not node.children, f"{node.path} is leaf and branch at once"
            assert node.client is not None or node.children or node is self.root, f"{node.path} is a dead branch"
            assert node.active_children == sum(child.active for child in node.children.values()), node.path
            if node.children:
                assert node.active == (node.active_children > 0) or node is self.root, node.path
                summed: dict[str, int] = {}
                for child in node.children.values():
                    for name, amount in child.allocation.items():
                        summed[name] = summed.get(name, 0) + amount
                assert summed == node.allocation, f"{node.path}: children sum to {summed}, booked {node.allocation}"
        for client, leaf in self.leaves.items():
            assert leaf.client == client, client

    def _child(self, parent: Node, name: str) -> Node:
        path = f"{parent.path}/{name}" if parent.path else name
        child = parent.children[name] = Node(name, path, parent)
        child.weight_milli = self._weights.get(path, DEFAULT_WEIGHT_MILLI)
        return child

    def _push_down(self, node: Node) -> None:
        """Turn a leaf into an inner node: its client's books go to a virtual leaf."""
        leaf = self._child(node, VIRTUAL_LEAF)
        assert node.client is not None
        leaf.client, node.client = node.client, None
        leaf.allocation = dict(node.allocation)
        leaf.count = node.count
        leaf.active = node.active
        node.active_children = int(leaf.active)
        self.leaves[leaf.client] = leaf
        self.changed[leaf] = self.changed[node] = None

    def _pull_up(self, node: Node) -> None:
        """Turn an inner node whose sub-roles are gone back into a leaf. Its books are the leaf's already."""
        leaf = node.children.pop(VIRTUAL_LEAF)
        assert leaf.client is not None
        node.client = leaf.client
        node.active = leaf.active
        node.active_children = 0
        node.count = leaf.count
        node.ranked.clear()
        self.leaves[leaf.client] = node
        # The leaf is off the tree: nobody may put it back into a ranking.
        leaf.active = False
        leaf.entry = None
        self.changed[node] = None

    def _set_node_active(self, node: Node, active: bool) -> None:
        while node.active != active:
            node.active = active
            self.changed[node] = None
            parent = node.parent
            if parent is None:
                break
            parent.active_children += 1 if active else -1
            node, active = parent, parent.active_children > 0


def place(node: Node, key: int | Fraction) -> None:
    """Put a node where its key belongs among its siblings, or take it out of their ranking where it is inactive."""
    displace(node)
    if node.active and node.parent is not None:
        node.entry = (key, node.count, node.path, node)
        insort(node.parent.ranked, node.entry)


def displace(node: Node) -> None:
    """Take a node out of its siblings' ranking."""
    if node.entry is not None and node.parent is not None:
        ranked = node.parent.ranked
        del ranked[bisect_left(ranked, node.entry)]
        node.entry = None
