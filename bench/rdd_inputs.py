"""What the programs of bench/sparklite.py read: made once for a run, the same on every machine but for the text of its Python."""

import random
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Final

from mesolite.frameworks.examples.sparklite.source_text import source_files

#: Word count: so many files of so many bytes, as the issue has it.
TEXT_FILES: Final = 8
TEXT_BYTES: Final = 4 * 1024 * 1024
#: Sort: lines of a hundred bytes, a gibibyte of them.
SORT_BYTES: Final = 1024**3
LINE_BYTES: Final = 100
#: PageRank.
EDGES: Final = 1_000_000
NODES: Final = 100_000
_LINES_AT_ONCE: Final = 10_000


def write_texts(folder: Path) -> Path:
    """Write the standard library's source, over and over, into files of equal size; returns their folder."""
    target = folder / "texts"
    target.mkdir()
    lines = cycle(_source_lines())
    for number in range(TEXT_FILES):
        with (target / f"part-{number}.txt").open("wb") as file:
            written = 0
            while written < TEXT_BYTES:
                written += file.write(next(lines))
    return target


def write_lines(folder: Path, size_bytes: int = SORT_BYTES) -> Path:
    """Write random lines of hexadecimal digits; returns the file."""
    target = folder / "lines.txt"
    dice = random.Random(1)
    digits = LINE_BYTES - 1
    with target.open("w") as file:
        left = size_bytes // LINE_BYTES
        while left:
            count = min(left, _LINES_AT_ONCE)
            text = f"{dice.getrandbits(4 * digits * count):0{digits * count}x}"
            file.writelines(f"{text[at : at + digits]}\n" for at in range(0, digits * count, digits))
            left -= count
    return target


def write_edges(folder: Path) -> Path:
    """Write a random graph, an edge to a line: a few nodes have most of the edges that come in, as in the web."""
    target = folder / "edges.txt"
    dice = random.Random(2)
    with target.open("w") as file:
        for _ in range(EDGES):
            file.write(f"{dice.randrange(NODES)} {int(NODES * dice.random() ** 3)}\n")
    return target


def _source_lines() -> Iterator[bytes]:
    for _, text in source_files():
        yield from text.encode("utf-8", "replace").splitlines(keepends=True)
