"""Who is next: the contract of a sorter, and the totals that shares are measured against.

A sorter keeps clients in a tree of slash-separated paths and says in which order they are to be served. It is used twice:
once over roles (`eng/web`), and once per role over the frameworks in it, whose ids hold no slash. It knows amounts, never
agents, offers or filters.

There are two: `DrfSorter` (dominant-resource fairness) and `RandomSorter` (weighted lottery), bound by one suite
(tests/unit/allocator/test_sorters.py).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol, TypeAlias

#: Amounts by resource name, in thousandths. Only scalars count in shares; ports and sets do not (reference 1.11).
Scalars: TypeAlias = Mapping[str, int]

#: A weight of 1, which every path has until told otherwise.
DEFAULT_WEIGHT_MILLI: Final = 1000


class Totals:
    """All scalars of all agents, reserved ones included; one instance is shared by all sorters of an allocator."""

    def __init__(self) -> None:
        self.amounts: dict[str, int] = {}
        #: Grows with each change, so that sorters notice.
        self.version: int = 0

    def add(self, scalars: Scalars) -> None:
        """Count an agent's scalars."""
        for name, amount in scalars.items():
            self.amounts[name] = self.amounts.get(name, 0) + amount
        self.version += 1

    def subtract(self, scalars: Scalars) -> None:
        """Stop counting an agent's scalars."""
        subtract_from(self.amounts, scalars)
        self.version += 1


class Sorter(Protocol):
    """Orders clients. A new client is inactive and holds nothing; what holds something cannot be removed."""

    def add(self, client: str) -> None:
        """Make a client known; not known yet."""
        ...

    def remove(self, client: str) -> None:
        """Forget a client that is inactive and holds nothing."""
        ...

    def __contains__(self, client: str) -> bool:
        """Tell whether the client is known."""
        ...

    def activate(self, client: str) -> None:
        """Serve a client."""
        ...

    def deactivate(self, client: str) -> None:
        """Leave a client out of the order; what it holds goes on counting."""
        ...

    def set_weight(self, path: str, weight_milli: int) -> None:
        """Weigh a path among its siblings; the path need not be known (yet)."""
        ...

    def allocated(self, client: str, scalars: Scalars) -> None:
        """Count a gift to a client; it may be inactive."""
        ...

    def recovered(self, client: str, scalars: Scalars) -> None:
        """Take from what a client holds."""
        ...

    def begin_run(self) -> None:
        """A run of the allocator begins: a sorter that draws lots draws new ones."""
        ...

    def order(self) -> Iterator[str]:
        """The active clients, the next to be served first. Void as soon as any other method is called."""
        ...

    def rank(self, client: str) -> tuple[object, ...]:
        """A value that is smaller for clients served earlier; for ordering a few active clients among many."""
        ...

    def check(self) -> None:
        """Assert that its books agree with themselves."""
        ...


#: Makes a sorter for the tree of this name: "" for the roles, a role for the frameworks in it.
SorterFactory: TypeAlias = Callable[[Totals, str], Sorter]


def subtract_from(amounts: dict[str, int], scalars: Scalars) -> None:
    """Subtract in place; names that reach zero vanish, and none may fall below."""
    for name, amount in scalars.items():
        rest = amounts.get(name, 0) - amount
        assert rest >= 0, f"{name}: {-rest} thousandths more are taken away than were counted"
        if rest:
            amounts[name] = rest
        else:
            amounts.pop(name, None)
