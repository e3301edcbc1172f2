"""The words of the standard library's source, the most frequent first.

python -m mesolite.frameworks.examples.sparklite.word_count
"""

from collections import Counter
from operator import add

from mesolite.frameworks.sparklite import SparkContext

from .checked import run
from .source_text import source_files

SLICES = 8
SHOWN = 20
WordCount = tuple[str, int]


def word_count(sc: SparkContext, texts: list[tuple[str, str]]) -> list[WordCount]:
    """Count on the cluster."""
    return (
        sc.parallelize([text for _, text in texts], SLICES)
        .flatMap(str.split)
        .map(lambda word: (word, 1))
        .reduceByKey(add)
        .takeOrdered(SHOWN, key=lambda counted: (-counted[1], counted[0]))
    )


def plain_word_count(texts: list[tuple[str, str]]) -> list[WordCount]:
    """Count here."""
    words = Counter(word for _, text in texts for word in text.split())
    return sorted(words.items(), key=lambda counted: (-counted[1], counted[0]))[:SHOWN]


def main() -> None:
    """Count and compare."""
    texts = source_files()
    run(
        "word count",
        lambda sc: word_count(sc, texts),
        lambda: plain_word_count(texts),
        lambda answer: (("word", "count"), answer),
    )


if __name__ == "__main__":
    main()
