"""`Executor.map`, as Python 3.14 defines it: results in order, chunks, a time limit for all, and a bounded look ahead."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeVar

_Value = TypeVar("_Value")

#: Rows of arguments that are submitted together: enough for a batch, and few enough that the first begin while others are
#: pickled.
ROWS_AT_A_TIME: Final = 500


class SubmitRows(Protocol):
    """Submits a call for each tuple of arguments; False of `open` means that nobody holds the executor any more."""

    def __call__(self, rows: list[tuple[Any, ...]]) -> list[Future[Any]]:
        """Return their futures, in order."""
        ...


def check(chunksize: int, buffersize: int | None) -> None:
    """Refuse what makes no sense, in the words of the standard library.

    Raises:
        ValueError: A number is less than 1.
        TypeError: buffersize is no number.
    """
    if chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    if buffersize is not None and not isinstance(buffersize, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")


def mapped(
    rows: Iterator[tuple[Any, ...]],
    submit: SubmitRows,
    is_held: Callable[[], bool],
    timeout: float | None,
    buffersize: int | None,
) -> Iterator[Any]:
    """Submit at once what may be, and return an iterator over the results.

    Args:
        rows: Arguments of each call.
        submit: Submits some of them.
        is_held: Whether anybody holds the executor still: an iterator that nobody finishes keeps none alive.
        timeout: Seconds from now until when each result must be there.
        buffersize: How many calls are submitted whose results have not been asked for; None: all.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    waiting: deque[Future[Any]] = deque()
    first = rows if buffersize is None else itertools.islice(rows, buffersize)
    while batch := list(itertools.islice(first, ROWS_AT_A_TIME)):
        waiting.extend(submit(batch))
    return _results(waiting, rows, submit, is_held, deadline, bounded=buffersize is not None)


def _results(
    waiting: deque[Future[Any]],
    rows: Iterator[tuple[Any, ...]],
    submit: SubmitRows,
    is_held: Callable[[], bool],
    deadline: float | None,
    *,
    bounded: bool,
) -> Iterator[Any]:
    try:
        while waiting:
            if bounded and is_held() and (row := next(rows, None)) is not None:
                waiting.extend(submit([row]))
            yield _result_or_cancel(waiting.popleft(), deadline)
    finally:
        for future in waiting:
            future.cancel()


def _result_or_cancel(future: Future[Any], deadline: float | None) -> Any:
    try:
        return future.result(None if deadline is None else deadline - time.monotonic())
    finally:
        future.cancel()
        del future  # a traceback would hold it, and it an exception with that traceback


def batched(rows: Iterable[_Value], size: int) -> Iterator[tuple[_Value, ...]]:
    """Tuples of so many rows, the last of what is left (itertools.batched is of Python 3.12)."""
    iterator = iter(rows)
    while chunk := tuple(itertools.islice(iterator, size)):
        yield chunk


def chained(chunks: Iterator[list[Any]]) -> Iterator[Any]:
    """Single results out of lists of them, without keeping those that were yielded."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()
