"""How many different values there are, about, in little memory: HyperLogLog.

Registers as Flajolet et al. 2007 ("HyperLogLog: the analysis of a near-optimal cardinality estimation algorithm") have them, 64
bits of hash; the estimate is Ertl's (2017, "New cardinality estimation algorithms for HyperLogLog sketches", section 2, algorithm
6), which is unbiased from nothing to 2^60 without tables of corrections.
"""

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from math import ceil, inf, log, log2, sqrt
from typing import Any, Final

from .hashing import portable_hash

_HASH_BITS: Final = 64
_HASH_MASK: Final = (1 << _HASH_BITS) - 1
#: Below it the estimate means nothing.
_MIN_INDEX_BITS: Final = 4
#: Standard error of one register, as Spark has it; divided by the square root of how many there are.
_ERROR_OF_ONE: Final = 1.054
#: A register in a dictionary takes so many times the byte that it takes in an array.
_SPARSE_COST: Final = 100


class HyperLogLog:
    """Registers: for each group of hashes the longest run of zeros seen, plus one.

    Args:
        relative_sd: The relative standard deviation of the estimate that is wanted.
    """

    def __init__(self, relative_sd: float) -> None:
        bits = ceil(2 * log2(_ERROR_OF_ONE / relative_sd))
        self._index_bits: Final = max(bits, _MIN_INDEX_BITS)
        #: Of registers that are not 0; as long as they are few.
        self._sparse: dict[int, int] | None = {}
        self._dense = bytearray()

    def add_all(self, values: Iterable[Any]) -> None:
        """Count values.

        Raises:
            TypeError: One cannot be hashed.
        """
        rest_bits = _HASH_BITS - self._index_bits
        rest_mask = (1 << rest_bits) - 1
        for value in values:
            mixed = _mixed(value)
            self._raise_to(mixed >> rest_bits, rest_bits + 1 - (mixed & rest_mask).bit_length())

    def merge(self, other: "HyperLogLog") -> None:
        """Count what another of the same precision has counted."""
        registers = other._dense if other._sparse is None else None
        pairs = enumerate(registers) if registers is not None else (other._sparse or {}).items()
        for index, rank in pairs:
            if rank:
                self._raise_to(index, rank)

    def estimate(self) -> int:
        """About how many different values have come."""
        registers = 1 << self._index_bits
        rest_bits = _HASH_BITS - self._index_bits
        counts = Counter(self._dense if self._sparse is None else self._sparse.values())
        if self._sparse is not None:
            counts[0] = registers - len(self._sparse)
        total = registers * _tau(1 - counts[rest_bits + 1] / registers)
        for rank in range(rest_bits, 0, -1):
            total = 0.5 * (total + counts[rank])
        total += registers * _sigma(counts[0] / registers)
        return round(registers * registers / (2 * log(2) * total))

    def _raise_to(self, index: int, rank: int) -> None:
        sparse = self._sparse
        if sparse is None:
            if self._dense[index] < rank:
                self._dense[index] = rank
        elif sparse.get(index, 0) < rank:
            sparse[index] = rank
            if len(sparse) * _SPARSE_COST > 1 << self._index_bits:
                self._make_dense(sparse)

    def _make_dense(self, sparse: dict[int, int]) -> None:
        self._dense = bytearray(1 << self._index_bits)
        for index, rank in sparse.items():
            self._dense[index] = rank
        self._sparse = None


def _mixed(value: Any) -> int:
    """A hash whose bits are all as good as random, which those of `hash` are not: small integers are their own."""
    if isinstance(value, str):
        # Not Python's hash, so that estimates are the same whatever PYTHONHASHSEED is.
        return int.from_bytes(blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
    # The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
    mixed = (portable_hash(value) + 0x9E3779B97F4A7C15) & _HASH_MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _HASH_MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _HASH_MASK
    return mixed ^ (mixed >> 31)


def _sigma(share: float) -> float:
    """Correction for registers at 0; inf where all are."""
    if share == 1.0:
        return inf
    factor, total, before = 1.0, share, -1.0
    while total != before:
        share *= share
        before = total
        total += share * factor
        factor += factor
    return total


def _tau(share: float) -> float:
    """Correction for registers that can rise no more."""
    if share in (0.0, 1.0):
        return 0.0
    factor, total, before = 1.0, 1.0 - share, -1.0
    while total != before:
        share = sqrt(share)
        before = total
        factor *= 0.5
        total -= (1.0 - share) ** 2 * factor
    return total / 3.0
