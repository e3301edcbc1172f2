"""Parts of several blocks in one request: what a reduce task asks an agent for, whose segments are small and many.

    GET /blocks/?parts=ID.FIRST.LAST,ID.FIRST.LAST,...      the bytes of all, one after the other; 404 if one is missing

First and last byte are counted as in a `Range` header.
"""

import re
import urllib.parse
from typing import Final

from mesolite.errors import BadInput

#: Each is an open file while the answer is sent.
MAX_PARTS: Final = 16
_PART: Final = re.compile(r"([A-Za-z0-9_-]{1,128})\.([0-9]{1,18})\.([0-9]{1,18})")


def asked_parts(query: str) -> list[tuple[str, range]]:
    """Return which bytes of which blocks a query names.

    Raises:
        BadInput: It names none, too many, or what is none.
    """
    named = urllib.parse.parse_qs(query).get("parts", [""])[0].split(",", MAX_PARTS)
    if len(named) > MAX_PARTS:
        raise BadInput(f"at most {MAX_PARTS} parts are sent at once")
    return [_part(each) for each in named]


def _part(text: str) -> tuple[str, range]:
    found = _PART.fullmatch(text)
    if found is None or int(found[2]) > int(found[3]):
        raise BadInput(f"{text[:200]!r} is no part of a block: ID.FIRST.LAST")
    return found[1], range(int(found[2]), int(found[3]) + 1)
