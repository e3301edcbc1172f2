"""How every example runs.

On the cluster of `mesolite up`, or in this process with `--master "local[2]"`; then in plain Python.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from mesolite.frameworks.sparklite import SparkContext

Answer = TypeVar("Answer")


def run(
    name: str,
    on_cluster: Callable[[SparkContext], Answer],
    in_plain_python: Callable[[], Answer],
    show: Callable[[Answer], tuple[Sequence[str], Sequence[Sequence[object]]]],
) -> None:
    """Run both, print a table of the answer, and exit with 1 where they differ.

    Args:
        name: Of the application.
        on_cluster: The program.
        in_plain_python: The same, without sparklite.
        show: Column names and rows of an answer.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--master", help='where to run: by default the cluster of `mesolite up`; or "local[2]"')
    master: str | None = parser.parse_args().master
    with SparkContext(master, name) as sc:
        began_s = time.perf_counter()
        answer = on_cluster(sc)
        took_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    expected = in_plain_python()
    plain_s = time.perf_counter() - began_s
    columns, rows = show(answer)
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(str, row))
    console = Console()
    console.print(table)
    console.print(f"sparklite {took_s:.2f} s, plain Python {plain_s:.2f} s")
    if answer != expected:
        sys.exit(f"wrong: plain Python has another answer: {str(expected)[:300]}")
    console.print("plain Python has the same answer")
