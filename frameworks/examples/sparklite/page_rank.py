"""Which modules of the standard library matter: PageRank over their imports, ten rounds, with the graph kept on the workers.

python -m mesolite.frameworks.examples.sparklite.page_rank
"""

from collections import defaultdict
from collections.abc import Iterable
from operator import add

from mesolite.frameworks.sparklite import SparkContext

from .checked import run
from .imports import imports_of
from .source_text import source_files

SLICES = 8
ROUNDS = 10
SHOWN = 15
#: Sums of fractions depend on their order in the last digits.
DIGITS = 9
Rank = tuple[str, float]


def contributions(each: tuple[Iterable[str], float]) -> list[Rank]:
    """What a module gives to each of those that it imports."""
    targets, rank = list(each[0]), each[1]
    return [(target, rank / len(targets)) for target in targets]


def page_rank(sc: SparkContext, texts: list[tuple[str, str]]) -> list[Rank]:
    """Rank on the cluster."""
    links = sc.parallelize(texts, SLICES).flatMap(imports_of).groupByKey(SLICES).cache()
    ranks = links.mapValues(lambda _: 1.0)
    for _ in range(ROUNDS):
        given = links.join(ranks, SLICES).values().flatMap(contributions)
        ranks = given.reduceByKey(add, SLICES).mapValues(lambda total: 0.15 + 0.85 * total)
    best = ranks.mapValues(lambda rank: round(rank, DIGITS))
    return best.takeOrdered(SHOWN, key=lambda each: (-each[1], each[0]))


def plain_page_rank(texts: list[tuple[str, str]]) -> list[Rank]:
    """Rank here."""
    links: defaultdict[str, list[str]] = defaultdict(list)
    for text in texts:
        for source, target in imports_of(text):
            links[source].append(target)
    ranks = dict.fromkeys(links, 1.0)
    for _ in range(ROUNDS):
        totals: defaultdict[str, float] = defaultdict(float)
        for source, targets in links.items():
            if source in ranks:
                for target in targets:
                    totals[target] += ranks[source] / len(targets)
        ranks = {target: 0.15 + 0.85 * total for target, total in totals.items()}
    rounded = [(module, round(rank, DIGITS)) for module, rank in ranks.items()]
    return sorted(rounded, key=lambda each: (-each[1], each[0]))[:SHOWN]


def main() -> None:
    """Rank and compare."""
    texts = source_files()
    run(
        "page rank",
        lambda sc: page_rank(sc, texts),
        lambda: plain_page_rank(texts),
        lambda answer: (("module", "rank"), answer),
    )


if __name__ == "__main__":
    main()
