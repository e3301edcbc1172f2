"""Kinds of modules by how they are written: k-means over share of comments, length of lines and depth of indentation.

python -m mesolite.frameworks.examples.sparklite.k_means
"""

from collections.abc import Sequence
from functools import partial

from mesolite.frameworks.sparklite import Broadcast, SparkContext

from .checked import run
from .source_text import source_files

SLICES = 4
CLUSTERS = 4
ROUNDS = 10
#: Sums of fractions depend on their order in the last digits.
DIGITS = 6
Point = tuple[float, float, float]
#: A point's sum over the members of a cluster, and how many there are.
Sum = tuple[Point, int]
Center = tuple[Point, int]


def point_of(text: str) -> Point:
    """Measure a text: per cent of lines that are comments, mean length of lines and mean indentation in characters."""
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    comments = sum(line.lstrip().startswith("#") for line in lines)
    indentation = sum(len(line) - len(line.lstrip()) for line in lines)
    return 100 * comments / len(lines), sum(map(len, lines)) / len(lines), indentation / len(lines)


def nearest(point: Point, centers: Sequence[Point]) -> int:
    """The number of the center that is nearest."""
    distances = [sum((a - b) ** 2 for a, b in zip(point, center, strict=True)) for center in centers]
    return distances.index(min(distances))


def assigned(point: Point, centers: "Broadcast[list[Point]]") -> tuple[int, Sum]:
    """A point as a sum of one, for the cluster whose center is nearest."""
    return nearest(point, centers.value), (point, 1)


def added(one: Sum, other: Sum) -> Sum:
    """Two sums as one."""
    (a, b, c), (x, y, z) = one[0], other[0]
    return (a + x, b + y, c + z), one[1] + other[1]


def center_of(total: Sum) -> Point:
    """The middle of a cluster, without the digits that depend on the order of additions."""
    (a, b, c), count = total
    return round(a / count, DIGITS), round(b / count, DIGITS), round(c / count, DIGITS)


def first_centers(points: Sequence[Point]) -> list[Point]:
    """Where to begin: evenly spread over the points in order of size."""
    ordered = sorted(points)
    return [ordered[(2 * number + 1) * len(ordered) // (2 * CLUSTERS)] for number in range(CLUSTERS)]


def k_means(sc: SparkContext, texts: list[tuple[str, str]]) -> list[Center]:
    """Find clusters on the cluster."""
    points = sc.parallelize([text for _, text in texts], SLICES).map(point_of).cache()
    centers = first_centers(points.collect())
    sizes: dict[int, int] = {}
    for _ in range(ROUNDS):
        known = sc.broadcast(centers)
        sums = points.map(partial(assigned, centers=known)).reduceByKey(added).collectAsMap()
        centers = [center_of(sums[number]) if number in sums else center for number, center in enumerate(centers)]
        sizes = {number: count for number, (_, count) in sums.items()}
        known.unpersist()
    return sorted((center, sizes.get(number, 0)) for number, center in enumerate(centers))


def plain_k_means(texts: list[tuple[str, str]]) -> list[Center]:
    """Find them here."""
    points = [point_of(text) for _, text in texts]
    centers = first_centers(points)
    sizes: dict[int, int] = {}
    for _ in range(ROUNDS):
        sums: dict[int, Sum] = {}
        for point in points:
            number = nearest(point, centers)
            sums[number] = added(sums[number], (point, 1)) if number in sums else (point, 1)
        centers = [center_of(sums[number]) if number in sums else center for number, center in enumerate(centers)]
        sizes = {number: count for number, (_, count) in sums.items()}
    return sorted((center, sizes.get(number, 0)) for number, center in enumerate(centers))


def main() -> None:
    """Find and compare."""
    texts = source_files()
    run(
        "k-means",
        lambda sc: k_means(sc, texts),
        lambda: plain_k_means(texts),
        lambda answer: (
            ("comments %", "line length", "indentation", "modules"),
            [(*(f"{each:.2f}" for each in center), size) for center, size in answer],
        ),
    )


if __name__ == "__main__":
    main()
