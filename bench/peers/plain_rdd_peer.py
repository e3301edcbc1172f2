"""The same steps written for `multiprocessing.Pool(2)`: what an engine adds is what it takes more than this."""

import multiprocessing.pool
import platform
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from .rdd_conversation import RddEngine, serve
from .rdd_programs import SMALL

Counts = dict[str, int]


def split(line: str) -> list[str]:
    """What `flatMap` calls."""
    return line.split()


def once(word: str) -> tuple[str, int]:
    """What `map` calls."""
    return word, 1


def map_side(path: Path) -> list[Counts]:
    """Count one file's words, and put them where they belong."""
    with path.open() as file:
        lines: Iterator[str] = iter(file)
        words = chain.from_iterable(map(split, lines))
        combined: Counts = {}
        for word, one in map(once, words):
            combined[word] = combined[word] + one if word in combined else one
    buckets: list[Counts] = [{} for _ in range(SMALL)]
    for word, count in combined.items():
        buckets[hash(word) % SMALL][word] = count
    return buckets


def reduce_side(parts: list[Counts]) -> list[tuple[str, int]]:
    """Add up what belongs together."""
    total: Counts = {}
    for part in parts:
        for word, count in part.items():
            total[word] = total[word] + count if word in total else count
    return list(total.items())


def word_count(pool: multiprocessing.pool.Pool, place: str) -> Any:
    """Count in two rounds; what is in between goes through this process."""
    outputs = pool.map(map_side, sorted(Path(place).iterdir()), chunksize=1)
    parts = [[output[number] for output in outputs] for number in range(SMALL)]
    counted = list(chain.from_iterable(pool.map(reduce_side, parts, chunksize=1)))
    return [len(counted), sum(count for _, count in counted)]


class Plain(RddEngine):
    """No engine."""

    version = f"Python {platform.python_version()}"
    setting = "multiprocessing.Pool(2)"
    programs: ClassVar = {"word_count": word_count}

    def open(self) -> Any:
        """See `RddEngine`."""
        return multiprocessing.Pool(2)

    def first(self, context: Any) -> None:
        """See `RddEngine`."""
        assert sum(context.map(abs, range(100))) == 4950

    def close(self, context: Any) -> None:
        """See `RddEngine`."""
        context.terminate()
        context.join()


if __name__ == "__main__":
    serve(Plain())
