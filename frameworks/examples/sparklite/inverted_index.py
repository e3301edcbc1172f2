"""Which modules of the standard library name an identifier: an inverted index, and what stands in most modules.

python -m mesolite.frameworks.examples.sparklite.inverted_index
"""

import keyword
import re
from collections import defaultdict

from mesolite.frameworks.sparklite import SparkContext

from .checked import run
from .source_text import source_files

SLICES = 8
SHOWN = 15
#: An identifier, how many modules name it, and the first three of them.
Entry = tuple[str, int, tuple[str, ...]]


def identifiers(text: str) -> set[str]:
    """The names in a text that are no keywords."""
    return {name for name in re.findall(r"[A-Za-z_]\w*", text) if not keyword.iskeyword(name)}


def inverted_index(sc: SparkContext, texts: list[tuple[str, str]]) -> list[Entry]:
    """Build it on the cluster."""
    index = (
        sc.parallelize(texts, SLICES)
        .flatMap(lambda each: [(name, each[0]) for name in identifiers(each[1])])
        .groupByKey()
        .mapValues(sorted)
    )
    entries = index.map(lambda each: (each[0], len(each[1]), tuple(each[1][:3])))
    return entries.takeOrdered(SHOWN, key=lambda entry: (-entry[1], entry[0]))


def plain_inverted_index(texts: list[tuple[str, str]]) -> list[Entry]:
    """Build it here."""
    index: defaultdict[str, list[str]] = defaultdict(list)
    for module, text in texts:
        for name in identifiers(text):
            index[name].append(module)
    entries = [(name, len(modules), tuple(sorted(modules)[:3])) for name, modules in index.items()]
    return sorted(entries, key=lambda entry: (-entry[1], entry[0]))[:SHOWN]


def main() -> None:
    """Build and compare."""
    texts = source_files()
    run(
        "inverted index",
        lambda sc: inverted_index(sc, texts),
        lambda: plain_inverted_index(texts),
        lambda answer: (("identifier", "modules", "among them"), [(a, b, ", ".join(c)) for a, b, c in answer]),
    )


if __name__ == "__main__":
    main()
