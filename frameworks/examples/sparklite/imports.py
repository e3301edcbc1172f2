"""Who imports whom in a text: the edges of the graph that two of the examples are about."""

import re
from collections.abc import Iterable
from typing import Final

_IMPORT: Final = re.compile(
    r"^[ \t]*(?:from[ \t]+([A-Za-z_][\w.]*)[ \t]+import\b|import[ \t]+([A-Za-z_][\w.]*))", re.MULTILINE
)


def imports_of(each: tuple[str, str]) -> Iterable[tuple[str, str]]:
    """Return (importing module, imported module) for a pair of a module and its text, each once."""
    module, text = each
    return sorted({(module, a or b) for a, b in _IMPORT.findall(text)})
