"""A task of the demo: counts the Python source below a directory. Runs inside a container, on the standard library alone.

Prints one JSON object: files, lines, words, the most frequent identifiers.
"""

import collections
import json
import keyword
import pathlib
import re
import sys
from typing import Final

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def count(directory: pathlib.Path) -> dict[str, object]:
    """Count every .py file below a directory.

    Returns:
        files, lines, words (separated by white space), and top_identifiers: the five most frequent names that are no
        keywords, with their counts; among equals the first by alphabet.
    """
    lines = words = files = 0
    identifiers: collections.Counter[str] = collections.Counter()
    for path in sorted(directory.rglob("*.py")):
        text = path.read_bytes().decode("utf-8", "replace")
        files += 1
        lines += text.count("\n")
        words += len(text.split())
        identifiers.update(name for name in _IDENTIFIER.findall(text) if not keyword.iskeyword(name))
    top = sorted(identifiers.items(), key=lambda item: (-item[1], item[0]))[:5]
    return {"files": files, "lines": lines, "words": words, "top_identifiers": top}


if __name__ == "__main__":
    print(json.dumps(count(pathlib.Path(sys.argv[1]))))  # noqa: T201 - its output is its result
