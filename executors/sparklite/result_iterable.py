"""`ResultIterable`: the values of one key, as `groupByKey` and `cogroup` give them."""

from collections.abc import Iterable, Iterator, Sized
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SizedIterable(Sized, Iterable[T_co], Protocol[T_co]):
    """What there can be of a key's values: a list, or something that reads them from disk."""


class ResultIterable(Generic[T]):
    """Can be iterated over any number of times, has a length, and travels. See `pyspark.resultiterable.ResultIterable`.

    Attributes:
        data: The values.
    """

    def __init__(self, data: SizedIterable[T]) -> None:
        self.data = data
        #: For programs that read them; nothing here does.
        self.index = 0
        self.maxindex = len(data)

    def __iter__(self) -> Iterator[T]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)
