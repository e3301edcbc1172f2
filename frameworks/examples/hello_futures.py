"""Calls with resources of their own, one that fails by itself, and what the others make of it. On the cluster of `mesolite up`.

python -m mesolite.frameworks.examples.hello_futures
"""

import os
from concurrent.futures import as_completed

from mesolite.frameworks.futures import CallError, Executor


def careful(number: int) -> str:
    """Say where it runs."""
    return f"{number} squared is {number * number}, says process {os.getpid()}"


def careless(number: int) -> str:
    """End the process that it runs in."""
    os._exit(number)


def main() -> None:
    """Print results as they come."""
    with Executor(cpus=0.5, mem_mib=64) as executor:
        futures = [executor.submit(careful, number) for number in range(5)]
        futures.append(executor.options(mem_mib=96, timeout=10).submit(careless, 3))
        for future in as_completed(futures):
            try:
                print(future.result())  # noqa: T201 - it is an example
            except CallError as error:
                print(f"{type(error).__name__}: {error}")  # noqa: T201 - it is an example


if __name__ == "__main__":
    main()
