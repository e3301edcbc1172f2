"""Whether calls were treated as promised while things died, from what they and their futures left. Pure: it returns complaints.

What is promised: every call has one end. None begins twice, whatever dies. Only what died with a call excuses its failure: the
death of an agent's process, of a master and of Redis is no excuse for any.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Returned:
    """A future had a result."""

    number: int
    #: The calls are to return their numbers.
    value: object


@dataclass(frozen=True, slots=True)
class Failed:
    """A future raised."""

    number: int
    #: The name of the exception's class.
    error: str
    message: str = ""


Ended: TypeAlias = Returned | Failed

#: So many complaints of a kind say what is wrong; hundreds say no more.
MAX_SHOWN: Final = 10


def verdict(calls: int, began: Iterable[int], ended: Iterable[Ended], excused: Mapping[str, int]) -> list[str]:
    """Complain about calls.

    Args:
        calls: Their numbers are those below it.
        began: A number for each time that a call began.
        ended: What each future was heard to say, as often as it said it.
        excused: Exceptions that what was killed accounts for, and how many of each at most.
    """
    beginnings = Counter(began)
    ends: defaultdict[int, list[Ended]] = defaultdict(list)
    for end in ended:
        ends[end.number].append(end)
    complaints: list[str] = []
    for number in range(calls):
        complaints += _of_one(number, beginnings[number], ends[number])
    numbers = set(range(calls))
    complaints += [f"{number} began and was never submitted" for number in sorted(beginnings.keys() - numbers)]
    complaints += [f"{number} ended and was never submitted" for number in sorted(ends.keys() - numbers)]
    return _short(complaints) + _unexcused(ends, excused)


def _of_one(number: int, began: int, ends: list[Ended]) -> list[str]:
    complaints: list[str] = []
    if began > 1:
        complaints.append(f"{number} began {began} times")
    if len(ends) != 1:
        return [*complaints, f"{number} ended {len(ends)} times: {ends}"]
    (end,) = ends
    if isinstance(end, Returned):
        if began == 0:
            complaints.append(f"{number} returned and never began")
        if end.value != number:
            complaints.append(f"{number} returned {end.value!r}")
    return complaints


def _unexcused(ends: Mapping[int, list[Ended]], excused: Mapping[str, int]) -> list[str]:
    failed: defaultdict[str, list[Failed]] = defaultdict(list)
    for heard in ends.values():
        for end in heard:
            if isinstance(end, Failed):
                failed[end.error].append(end)
    return [
        f"{len(failures)} calls failed with {error}, and what was killed accounts for {excused.get(error, 0)}; "
        f"one is {failures[0].number}: {failures[0].message}"
        for error, failures in sorted(failed.items())
        if len(failures) > excused.get(error, 0)
    ]


def _short(complaints: list[str]) -> list[str]:
    rest = len(complaints) - MAX_SHOWN
    return complaints if rest <= 0 else [*complaints[:MAX_SHOWN], f"and {rest} more"]
