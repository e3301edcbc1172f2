"""Who is offered what."""

from .contract import DEFAULT_REFUSE_MS, MAX_REFUSE_MS, Allocator, Grant, NonOffer, Reason
from .drf import DrfSorter
from .hierarchical import HierarchicalDrfAllocator
from .holds import HoldLimits
from .one_each import OneEachAllocator
from .random_sorter import RandomSorter
from .sorter import Sorter, SorterFactory, Totals

__all__ = [
    # the contracts
    "Allocator",
    "Grant",
    "NonOffer",
    "Reason",
    "DEFAULT_REFUSE_MS",
    "MAX_REFUSE_MS",
    "Sorter",
    "SorterFactory",
    "Totals",
    # implementations
    "HierarchicalDrfAllocator",
    "HoldLimits",
    "OneEachAllocator",
    "DrfSorter",
    "RandomSorter",
]
