"""Whether Celery's tasks were treated as promised while things died, from what they left. Pure: it returns complaints.

What is promised: every task has one last word. None that is acknowledged early begins twice, whatever dies. One that is
acknowledged late begins again only where what died had it. A chord's body runs once, with the results of all.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

#: So many complaints of a kind say what is wrong; hundreds say no more.
MAX_SHOWN: Final = 10
#: What a task that dies in such a way fails with: the names of exceptions.
FITTING: Final[Mapping[str, str | None]] = {
    "fine": None,
    "greedy": "MemoryLimitExceeded",
    "exits": "WorkerLostError",
    "killed": "WorkerLostError",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What one task left."""

    number: int
    #: What it was told to do.
    how: str
    #: How often it began.
    starts: int
    #: In the backend; None: nothing.
    state: str | None
    #: What it returned.
    value: object = None
    #: The name of the exception's class.
    error: str | None = None


def accounted(accounts: Iterable[Account]) -> list[str]:
    """Complain about tasks of which each was to begin once and to end as it fits."""
    complaints: list[str] = []
    for each in accounts:
        if each.starts != 1:
            complaints.append(f"{each.number} ({each.how}) began {each.starts} times")
        fitting = FITTING[each.how]
        if fitting is None and (each.state, each.value) != ("SUCCESS", each.number):
            complaints.append(f"{each.number} was to return itself; it is {each.state}, {each.error or each.value}")
        if fitting is not None and (each.state, each.error) != ("FAILURE", fitting):
            complaints.append(
                f"{each.number} ({each.how}) was to fail with {fitting}; it is {each.state}, {each.error}"
            )
    return _short(complaints)


def chord_done(parts: int, bodies: Sequence[str]) -> list[str]:
    """Complain about a chord of parts that return their numbers, from the lines of its body: how many it got, and their sum."""
    wanted = f"{parts} {sum(range(parts))}"
    if list(bodies) == [wanted]:
        return []
    return [f"the body was to run once, with {wanted!r}; it wrote {list(bodies)}"]


def begun_as_promised(began: Iterable[int], late: range, early: range, again_at_most: int) -> list[str]:
    """Complain about how often tasks began.

    Args:
        began: A number for each beginning.
        late: Tasks that are acknowledged late: each begins once, and some again.
        early: Tasks that are acknowledged early: each begins once at most.
        again_at_most: Beginnings that what was killed accounts for.
    """
    starts = Counter(began)
    complaints = [f"{number} never began" for number in late if not starts[number]]
    complaints += [
        f"{number}, acknowledged early, began {starts[number]} times" for number in early if starts[number] > 1
    ]
    again = {number: starts[number] - 1 for number in late if starts[number] > 1}
    if sum(again.values()) > again_at_most:
        complaints.append(f"{sum(again.values())} began again, where {again_at_most} may have been lost: {again}")
    return _short(complaints)


def ended_as_excused(ends: Mapping[int, str], excused: Mapping[str, int]) -> list[str]:
    """Complain about tasks by their last words: "SUCCESS", the name of an exception, or "nothing".

    Args:
        ends: By number.
        excused: How many of each exception what was killed accounts for.
    """
    counts = Counter(ends.values())
    return [
        f"{count} tasks ended with {word}, where {excused.get(word, 0)} at most may"
        for word, count in sorted(counts.items())
        if word != "SUCCESS" and count > excused.get(word, 0)
    ]


def _short(complaints: list[str]) -> list[str]:
    left = len(complaints) - MAX_SHOWN
    return complaints[:MAX_SHOWN] + ([f"and {left} more"] if left > 0 else [])
