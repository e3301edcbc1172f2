"""Two tables joined: who imports a module, with how long that module is. Which modules are long and imported by many?

python -m mesolite.frameworks.examples.sparklite.join_tables
"""

from collections import Counter

from mesolite.frameworks.sparklite import SparkContext

from .checked import run
from .imports import imports_of
from .source_text import source_files

SLICES = 4
SHOWN = 15
#: A module, by how many it is imported, and its lines; None where it is not among those with a text.
Row = tuple[str, int, int | None]


def join_tables(sc: SparkContext, texts: list[tuple[str, str]]) -> list[Row]:
    """Join on the cluster."""
    modules = sc.parallelize(texts, SLICES)
    lines = modules.mapValues(lambda text: text.count("\n"))
    imported = modules.flatMap(imports_of).map(lambda edge: (edge[1], edge[0]))
    joined = imported.groupByKey().mapValues(len).leftOuterJoin(lines)
    rows = joined.map(lambda each: (each[0], each[1][0], each[1][1]))
    return rows.takeOrdered(SHOWN, key=lambda row: (-row[1], row[0]))


def plain_join(texts: list[tuple[str, str]]) -> list[Row]:
    """Join here."""
    lines = {module: text.count("\n") for module, text in texts}
    importers = Counter(target for each in texts for _, target in imports_of(each))
    rows = [(module, count, lines.get(module)) for module, count in importers.items()]
    return sorted(rows, key=lambda row: (-row[1], row[0]))[:SHOWN]


def main() -> None:
    """Join and compare."""
    texts = source_files()
    run(
        "join of two tables",
        lambda sc: join_tables(sc, texts),
        lambda: plain_join(texts),
        lambda answer: (("module", "imported by", "lines"), answer),
    )


if __name__ == "__main__":
    main()
