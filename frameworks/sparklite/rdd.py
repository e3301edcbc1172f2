"""`RDD`: what PySpark's programs hold. Put together from its parts; each is a file of its own."""

from typing import TypeVar

from .actions import Actions
from .pairs import Pairs
from .sampling import Sampling
from .statistics import Statistics
from .transformations import Transformations

T = TypeVar("T")


class RDD(Transformations[T], Pairs[T], Sampling[T], Statistics[T], Actions[T]):
    """A collection that is spread over partitions, and made anew from its lineage wherever a part of it is lost."""
