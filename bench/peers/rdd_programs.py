"""The programs of bench/sparklite.py, written once for every engine that has PySpark's RDDs.

They are functions of a context, and touch nothing but its public API. Each returns an answer that can be compared.
"""

# Contexts of several engines, none of which is the one with types.
# pyright: reportUnknownLambdaType=false

from collections.abc import Callable
from operator import add
from pathlib import Path
from typing import Any, Final

#: Reduce partitions of the small programs, and of the large ones.
SMALL: Final = 8
LARGE: Final = 16
PAIRS: Final = 5_000_000
ROUNDS: Final = 10
#: Odd and no divisor of anything here: it spreads keys over all partitions.
STRIDE: Final = 7_368_787


def word_count(sc: Any, place: str) -> Any:
    """Words of text files; returns how many there are, and how many different ones."""
    counted = (
        sc.textFile(place)
        .flatMap(lambda line: line.split())
        .map(lambda word: (word, 1))
        .reduceByKey(lambda a, b: a + b, SMALL)
        .collect()
    )
    return [len(counted), sum(count for _, count in counted)]


def sort_lines(sc: Any, place: str) -> Any:
    """Lines of a file in order, into files; returns nothing: the files are looked at."""
    source, target = place.split("|")
    sc.textFile(source, LARGE).sortBy(lambda line: line, True, LARGE).saveAsTextFile(target)
    return None


def join_tables(sc: Any, place: str) -> Any:
    """Two tables of five million pairs; returns how many rows there are, and a sum over them."""
    del place  # the tables are made by the tasks
    left = sc.range(0, PAIRS, 1, LARGE).map(lambda n: (n, n))
    right = sc.range(0, PAIRS, 1, LARGE).map(lambda n: (n * STRIDE % PAIRS, n % 97))
    rows = left.join(right, LARGE).map(lambda row: row[1][0] % 7 + row[1][1])
    return list(rows.aggregate((0, 0), lambda a, n: (a[0] + 1, a[1] + n), lambda a, b: (a[0] + b[0], a[1] + b[1])))


def page_rank(sc: Any, place: str) -> Any:
    """Ranks of a graph's nodes after ten rounds; returns how many nodes have one, and their sum in thousandths."""
    edges = sc.textFile(place, SMALL).map(lambda line: tuple(map(int, line.split())))
    links = edges.distinct(SMALL).groupByKey(SMALL).cache()
    ranks = links.mapValues(lambda _: 1.0)
    for _ in range(ROUNDS):
        given = links.join(ranks, SMALL).flatMap(
            lambda each: [(target, each[1][1] / len(each[1][0])) for target in each[1][0]]
        )
        ranks = given.reduceByKey(add, SMALL).mapValues(lambda total: 0.15 + 0.85 * total)
    count, total = ranks.values().aggregate(
        (0, 0.0), lambda so_far, rank: (so_far[0] + 1, so_far[1] + rank), lambda a, b: (a[0] + b[0], a[1] + b[1])
    )
    links.unpersist()
    return [count, round(total * 1000)]


PROGRAMS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "word_count": word_count,
    "sort_lines": sort_lines,
    "join_tables": join_tables,
    "page_rank": page_rank,
}


def is_sorted(folder: Path, size_bytes: int) -> bool:
    """Whether the files of `sort_lines` hold as many bytes as came in, in order."""
    last, seen = "", 0
    for path in sorted(folder.glob("part-*")):
        with path.open() as file:
            for line in file:
                if line < last:
                    return False
                last = line
                seen += len(line)
    return seen == size_bytes
