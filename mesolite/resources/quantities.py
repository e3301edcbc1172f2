"""Amounts by name alone, where identity does not matter: what shares, quotas and minimum offer sizes count in.

`Quantities` says how much there is: a name that is missing is 0. `Limits` says how much there may be: a name that is
missing is unbounded, and one at 0 allows nothing. Both are immutable, count in thousandths, and count ranges and sets by
their elements (reference 1.12; mesos `src/common/resource_quantities.hpp`).
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from mesolite.errors import ResourceError

from .amounts import milli_from_text, text_from_milli
from .validation import name_error


class Quantities:
    """How much of each name; every amount is above 0."""

    __slots__ = ("_amounts",)

    #: Nothing at all.
    EMPTY: ClassVar["Quantities"]

    def __init__(self, amounts_milli: Mapping[str, int] | None = None) -> None:
        """Take thousandths by name; zeros vanish.

        Raises:
            ResourceError: An amount is negative.
        """
        self._amounts = {name: milli for name, milli in _not_negative(amounts_milli or {}) if milli}

    @classmethod
    def parse(cls, text: str) -> "Quantities":
        """Read `cpus:0.5;mem:64`; a name that comes twice is added up.

        Raises:
            ResourceError: It is not of that form; the message says what to write.
        """
        return cls(_parsed(text))

    def get(self, name: str) -> int:
        """Thousandths of this name, 0 where there is none."""
        return self._amounts.get(name, 0)

    def names(self) -> tuple[str, ...]:
        """The names that there is something of, sorted."""
        return tuple(sorted(self._amounts))

    def as_dict(self) -> dict[str, int]:
        """Thousandths by name, in sorted order: a copy, which may be changed and stored."""
        return dict(sorted(self._amounts.items()))

    def contains(self, other: "Quantities") -> bool:
        """Tell whether there is at least as much of every name."""
        mine = self._amounts
        return all(mine.get(name, 0) >= milli for name, milli in other._amounts.items())

    def __add__(self, other: "Quantities") -> "Quantities":
        """Add name by name."""
        total = self._amounts.copy()
        for name, milli in other._amounts.items():
            total[name] = total.get(name, 0) + milli
        return _adopted(total)

    def __sub__(self, other: "Quantities") -> "Quantities":
        """Subtract name by name, never below 0."""
        rest = self._amounts.copy()
        for name, milli in other._amounts.items():
            left = rest.get(name, 0) - milli
            if left > 0:
                rest[name] = left
            else:
                rest.pop(name, None)
        return _adopted(rest)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Pairs of name and thousandths, sorted by name."""
        return iter(sorted(self._amounts.items()))

    def __bool__(self) -> bool:
        return bool(self._amounts)

    def __eq__(self, other: object) -> bool:
        return self._amounts == other._amounts if isinstance(other, Quantities) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._amounts.items()))

    def __str__(self) -> str:
        return _printed(self._amounts)

    def __repr__(self) -> str:
        return f"Quantities.parse({str(self)!r})"


class Limits:
    """How much of each name is allowed; what is not named is unbounded."""

    __slots__ = ("_amounts",)

    #: No limit on anything.
    NONE: ClassVar["Limits"]

    def __init__(self, amounts_milli: Mapping[str, int] | None = None) -> None:
        """Take thousandths by name; a zero allows nothing of its name.

        Raises:
            ResourceError: A limit is negative.
        """
        self._amounts = dict(_not_negative(amounts_milli or {}))

    @classmethod
    def parse(cls, text: str) -> "Limits":
        """Read `cpus:8;gpus:0`; a name that comes twice is added up.

        Raises:
            ResourceError: It is not of that form; the message says what to write.
        """
        return cls(_parsed(text))

    def get(self, name: str) -> int | None:
        """Thousandths that are allowed of this name, None where it is unbounded."""
        return self._amounts.get(name)

    def names(self) -> tuple[str, ...]:
        """The names that are limited, sorted."""
        return tuple(sorted(self._amounts))

    def as_dict(self) -> dict[str, int]:
        """Thousandths by name, in sorted order: a copy, which may be changed and stored."""
        return dict(sorted(self._amounts.items()))

    def contains(self, quantities: Quantities) -> bool:
        """Tell whether so much is allowed."""
        return all(quantities.get(name) <= milli for name, milli in self._amounts.items())

    def __sub__(self, quantities: Quantities) -> "Limits":
        """What is still allowed when so much is used: never below 0, and a name at 0 stays limited."""
        return Limits({name: max(0, milli - quantities.get(name)) for name, milli in self._amounts.items()})

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Pairs of name and thousandths, sorted by name."""
        return iter(sorted(self._amounts.items()))

    def __bool__(self) -> bool:
        """Tell whether anything is limited."""
        return bool(self._amounts)

    def __eq__(self, other: object) -> bool:
        return self._amounts == other._amounts if isinstance(other, Limits) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._amounts.items()))

    def __str__(self) -> str:
        return _printed(self._amounts)

    def __repr__(self) -> str:
        return f"Limits.parse({str(self)!r})"


def _adopted(amounts: dict[str, int]) -> Quantities:
    """Quantities around a dict that is theirs from now on and holds positive amounts only."""
    quantities = Quantities.__new__(Quantities)
    quantities._amounts = amounts  # pyright: ignore[reportPrivateUsage]
    return quantities


def _not_negative(amounts_milli: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for name, milli in amounts_milli.items():
        if milli < 0:
            raise ResourceError(f"{name}: {text_from_milli(milli)} is negative; write 0 or more")
        yield name, milli


def _parsed(text: str) -> dict[str, int]:
    amounts: dict[str, int] = {}
    for entry in filter(None, map(str.strip, text.split(";"))):
        name, colon, numeral = (part.strip() for part in entry.partition(":"))
        error = name_error(name)
        if not colon or error is not None:
            raise ResourceError(f"{entry[:80]!r} is no quantity; write name:number, like cpus:0.5;mem:64")
        amounts[name] = amounts.get(name, 0) + milli_from_text(name, numeral)
    return amounts


def _printed(amounts: dict[str, int]) -> str:
    return ";".join(f"{name}:{text_from_milli(milli)}" for name, milli in sorted(amounts.items()))


Quantities.EMPTY = Quantities()
Limits.NONE = Limits()
