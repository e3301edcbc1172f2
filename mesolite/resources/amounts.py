"""Amounts as integers in thousandths, read from text and floats and printed again.

Mesos keeps scalars as doubles and does its arithmetic in fixed point with three decimals (`src/common/values.cpp`,
reference 1.12). Here they are integers from the moment they are read, so nothing can drift. Rounding is half away from
zero. What is positive but would round to nothing is refused, for it would mean "for free".
"""

import math
import re
import string
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from mesolite.errors import ResourceError

#: Thousandths in one unit: the precision of every scalar.
MILLI: Final = 1000

#: No cluster has 10^12 of anything. The bound also keeps sums of many amounts far inside the wire's 64-bit integers.
MAX_SCALAR_MILLI: Final = 10**12 * MILLI

#: Memory and disk count in MiB, where 1 EB (10^18 bytes) comes before the general bound.
MAX_MIB_MILLI: Final = 10**18 * MILLI // 2**20

#: The names that count in MiB.
MIB_NAMES: Final = frozenset({"mem", "disk"})

#: Longer numerals are refused unread. The longest that means something has 13 digits before its point.
MAX_NUMERAL_LENGTH: Final = 40

#: Of memory, as people write it. Bare numbers are MiB; a kilobyte is 1024 bytes, as to Docker.
_BYTES_PER_UNIT: Final = {
    "": 2**20,
    "b": 1,
    "k": 2**10,
    "kb": 2**10,
    "kib": 2**10,
    "m": 2**20,
    "mb": 2**20,
    "mib": 2**20,
    "g": 2**30,
    "gb": 2**30,
    "gib": 2**30,
    "t": 2**40,
    "tb": 2**40,
    "tib": 2**40,
}

_NUMERAL: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def max_milli(name: str) -> int:
    """The largest amount that a resource of this name may have, in thousandths."""
    return MAX_MIB_MILLI if name in MIB_NAMES else MAX_SCALAR_MILLI


def milli_from_text(name: str, text: str) -> int:
    """Read a numeral such as `0.5` or `1e3`.

    Args:
        name: The resource it belongs to, for its bound and for the error.
        text: The numeral, without surrounding space.

    Returns:
        Thousandths; 0 only where exactly 0 was written.

    Raises:
        ResourceError: It is no number, negative, absurdly large, or positive yet below half a thousandth.
    """
    if len(text) > MAX_NUMERAL_LENGTH or not _NUMERAL.fullmatch(text):
        shown = text if len(text) <= MAX_NUMERAL_LENGTH else text[:MAX_NUMERAL_LENGTH] + "..."
        unit = " of MiB, without the unit," if name in MIB_NAMES else ""
        raise ResourceError(f"{name}: {shown!r} is not an amount; write a number{unit} like {name}:64 or {name}:0.5")
    number = Decimal(text)
    milli = int((number * MILLI).to_integral_value(rounding=ROUND_HALF_UP))
    return _checked(name, milli, negative=number < 0, zero=number == 0, shown=text)


def milli_from_float(name: str, value: float) -> int:
    """Round a float to thousandths, half away from zero; as `milli_from_text` in all else."""
    if not math.isfinite(value):
        raise ResourceError(f"{name}: {value!r} is not an amount; give a finite number")
    if abs(value) > max_milli(name):
        raise _too_large(name, repr(value))
    milli = math.floor(abs(value) * MILLI + 0.5)
    return _checked(name, milli, negative=value < 0, zero=value == 0, shown=repr(value))


def mib_from_text(name: str, text: str) -> int:
    """Read memory as people write it: "64", "64MiB", "1.5 GiB". Parts of a MiB are rounded up.

    Args:
        name: What it is for, for the error.
        text: The amount.

    Raises:
        ResourceError: It is no amount, nothing at all, or absurdly large.
    """
    digits = text.strip().rstrip(f"{string.ascii_letters} ")
    unit = _BYTES_PER_UNIT.get(text.strip()[len(digits) :].strip().lower())
    if unit is None or len(digits) > MAX_NUMERAL_LENGTH or not _NUMERAL.fullmatch(digits):
        shown = text[:MAX_NUMERAL_LENGTH]
        raise ResourceError(f"{name}: {shown!r} is not an amount of memory; write it like 64, 64MiB or 1.5GiB")
    mib = Decimal(digits) * unit / 2**20
    if not 0 < mib * MILLI <= MAX_MIB_MILLI:
        raise ResourceError(f"{name}: {text.strip()} is out of range; write it like 64, 64MiB or 1.5GiB")
    return math.ceil(mib)


def text_from_milli(milli: int) -> str:
    """Print thousandths as a numeral without trailing zeros: 1500 is `1.5`, 2000 is `2`."""
    whole, fraction = divmod(abs(milli), MILLI)
    sign = "-" if milli < 0 else ""
    return f"{sign}{whole}.{fraction:03d}".rstrip("0") if fraction else f"{sign}{whole}"


def _checked(name: str, milli: int, *, negative: bool, zero: bool, shown: str) -> int:
    if negative:
        raise ResourceError(f"{name}: {shown} is negative; write 0 or more")
    if milli == 0 and not zero:
        raise ResourceError(f"{name}: {shown} rounds to 0; the smallest amount is 0.001 (write 0 for none)")
    if milli > max_milli(name):
        raise _too_large(name, shown)
    return milli


def _too_large(name: str, shown: str) -> ResourceError:
    limit = text_from_milli(max_milli(name))
    unit = " (MiB)" if name in MIB_NAMES else ""
    return ResourceError(f"{name}: {shown} is too large; at most {limit}{unit} is allowed")
