"""What a group's further arguments of `celery worker` say that matters here."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final

_PREFETCH_MULTIPLIER: Final = "--prefetch-multiplier"


def prefetch_multiplier(arguments: Sequence[str]) -> int | None:
    """Return how many messages a worker takes ahead for each process; None where they do not say it.

    As Celery's command line reads it: the last one counts, and 0 leaves it to the application. What is no number is for the
    worker to refuse.
    """
    said = [value for value in _values(_PREFETCH_MULTIPLIER, arguments) if value.isdecimal() and value.isascii()]
    return (int(said[-1]) or None) if said else None


def _values(option: str, arguments: Sequence[str]) -> Iterator[str]:
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, sign, value = argument.partition("=")
        if name == option:
            yield value if sign else following
