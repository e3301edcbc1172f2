"""What each module of the standard library is about: the word with the greatest tf-idf.

python -m mesolite.frameworks.examples.sparklite.tf_idf
"""

import math
import re
from collections import Counter
from operator import add

from mesolite.frameworks.sparklite import SparkContext

from .checked import run
from .source_text import source_files

SLICES = 8
SHOWN = 20
#: Shorter texts say little.
MIN_WORDS = 500
DIGITS = 9
Subject = tuple[str, str, float]


def words_of(text: str) -> list[str]:
    """The words of at least four letters."""
    return re.findall(r"[a-z]{4,}", text.lower())


def frequencies(each: tuple[str, list[str]]) -> list[tuple[str, tuple[str, float]]]:
    """Return (word, (module, share of the module's words)) for each word of a module."""
    module, words = each
    return [(word, (module, times / len(words))) for word, times in Counter(words).items()]


def tf_idf(sc: SparkContext, texts: list[tuple[str, str]]) -> list[Subject]:
    """Weigh on the cluster."""
    documents = sc.parallelize(texts, SLICES).mapValues(words_of).filter(lambda each: len(each[1]) >= MIN_WORDS).cache()
    count = documents.count()
    frequency = documents.flatMap(frequencies)
    spread = documents.flatMap(lambda each: [(word, 1) for word in set(each[1])]).reduceByKey(add)
    weighed = frequency.join(spread).map(
        lambda each: (each[1][0][0], (round(each[1][0][1] * math.log(count / each[1][1]), DIGITS), each[0]))
    )
    best = weighed.reduceByKey(max).map(lambda each: (each[0], each[1][1], each[1][0]))
    return best.takeOrdered(SHOWN, key=lambda subject: (-subject[2], subject[0]))


def plain_tf_idf(texts: list[tuple[str, str]]) -> list[Subject]:
    """Weigh here."""
    documents = {module: words for module, text in texts if len(words := words_of(text)) >= MIN_WORDS}
    spread = Counter(word for words in documents.values() for word in set(words))
    best: list[Subject] = []
    for module, words in documents.items():
        weight, word = max(
            (round(times / len(words) * math.log(len(documents) / spread[word]), DIGITS), word)
            for word, times in Counter(words).items()
        )
        best.append((module, word, weight))
    return sorted(best, key=lambda subject: (-subject[2], subject[0]))[:SHOWN]


def main() -> None:
    """Weigh and compare."""
    texts = source_files()
    run(
        "tf-idf",
        lambda sc: tf_idf(sc, texts),
        lambda: plain_tf_idf(texts),
        lambda answer: (("module", "word", "tf-idf"), answer),
    )


if __name__ == "__main__":
    main()
