"""`RDD`: what PySpark's programs hold. Put together from its parts; each is a file of its own."""

from typing import TypeVar

from .actions import Actions
from .combining import Combining
from .describing import Describing
from .keeping import Keeping
from .ordering import Ordering
from .pairs import Pairs
from .placing import Placing
from .reductions import Reductions
from .sampling import Sampling
from .saving import Saving
from .statistics import Statistics
from .transformations import Transformations

T = TypeVar("T")


class RDD(
    Transformations[T],
    Combining[T],
    Ordering[T],
    Placing[T],
    Keeping[T],
    Describing[T],
    Saving[T],
    Pairs[T],
    Sampling[T],
    Statistics[T],
    Actions[T],
    Reductions[T],
):
    """A collection that is spread over partitions, and made anew from its lineage wherever a part of it is lost."""
