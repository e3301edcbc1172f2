"""What runs in workers on behalf of the executor, sent by value: workers have no Mesolite of their version to import it from."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

#: Where a worker process remembers which initializers it has run: a name in `sys`, which every function that is sent shares.
_PLACE: Final = "_mesolite_initialized"


def run_chunk(function: Callable[..., Any], chunk: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call a function with each tuple of arguments; the first exception ends it, as in a process pool."""
    return [function(*arguments) for arguments in chunk]


def run_argument(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call what came along as an argument: what is another function each time would fill the workers' memory of functions."""
    return function(*args, **kwargs)


def run_initialized(
    token: str,
    initializer: Callable[..., object],
    initargs: tuple[Any, ...],
    function: Callable[..., Any],
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call a function in a worker that has run the initializer; where this worker has not, it does so before.

    Raises:
        RuntimeError: The initializer raised, here or in an earlier call of this worker; its text begins with the token.
    """
    done: dict[str, str] = sys.__dict__.setdefault(_PLACE, {})
    if token not in done:
        try:
            initializer(*initargs)
        except BaseException as error:
            done[token] = f"{type(error).__name__}: {error}"
            raise RuntimeError(f"{token}: {done[token]}") from error
        done[token] = ""
    if done[token]:
        raise RuntimeError(f"{token}: {done[token]}")
    return function(*args, **kwargs)
