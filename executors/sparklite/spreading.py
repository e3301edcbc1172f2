"""`repartition`: spreads items evenly, in batches of ten, beginning at a place that differs from partition to partition.

The places are Spark's own, so that the same items come into the same partitions: those of its `XORShiftRandom`, seeded with the
number of the partition by way of MurmurHash3.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Final

#: Items that stay together: PySpark's batch of a coalesce with a shuffle.
BATCH_ITEMS: Final = 10

_MASK_32: Final = 0xFFFF_FFFF
_MASK_64: Final = 0xFFFF_FFFF_FFFF_FFFF
#: `MurmurHash3.arraySeed` of Scala's library.
_ARRAY_SEED: Final = 0x3C07_4A61


@dataclass(frozen=True, slots=True)
class Spread:
    """Items to (partition, batch of items)."""

    partitions: int

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        place = first_place(partition, self.partitions)
        while batch := list(islice(items, BATCH_ITEMS)):
            place += 1
            yield place % self.partitions, batch


@dataclass(frozen=True, slots=True)
class Unbatch:
    """(partition, batch of items) to items."""

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        return chain.from_iterable(map(itemgetter(1), items))


def first_place(seed: int, bound: int) -> int:
    """Return `new XORShiftRandom(seed).nextInt(bound)`."""
    state = _mixed(seed)
    while True:
        state ^= (state << 21) & _MASK_64
        state ^= state >> 35
        state ^= (state << 4) & _MASK_64
        drawn = state & 0x7FFF_FFFF
        if bound & (bound - 1) == 0:
            return (bound * drawn) >> 31
        # java.util.Random.nextInt: draws of the last, incomplete round are thrown away.
        if drawn - drawn % bound + bound - 1 <= 0x7FFF_FFFF:
            return drawn % bound


def _mixed(seed: int) -> int:
    data = seed.to_bytes(8, "big", signed=True)
    low = _murmur3(data, _ARRAY_SEED)
    return _murmur3(data, low) << 32 | low


def _murmur3(data: bytes, seed: int) -> int:
    """MurmurHash3, x86, 32 bits, of whole words."""
    value = seed
    for start in range(0, len(data), 4):
        word = int.from_bytes(data[start : start + 4], "little")
        word = _rotated(word * 0xCC9E_2D51 & _MASK_32, 15) * 0x1B87_3593 & _MASK_32
        value = (_rotated(value ^ word, 13) * 5 + 0xE654_6B64) & _MASK_32
    value ^= len(data)
    value = (value ^ value >> 16) * 0x85EB_CA6B & _MASK_32
    value = (value ^ value >> 13) * 0xC2B2_AE35 & _MASK_32
    return value ^ value >> 16


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _MASK_32
