"""Which part of a block a request asks for: `Range` of RFC 9110, section 14, with one range of bytes.

What is no range that we know is no error: the whole block answers it, as the RFC has it for servers that do without. So for other
units, for what cannot be read, and for several ranges at once, which nobody who reads blocks asks for.
"""

import re
from typing import Final

#: Numbers beyond are of no file; Python would read a million digits slowly.
_MAX_DIGITS: Final = 19
_RANGE: Final = re.compile(rf"bytes=[ \t]*([0-9]{{0,{_MAX_DIGITS}}})-([0-9]{{0,{_MAX_DIGITS}}})[ \t]*", re.IGNORECASE)


class Unsatisfiable(Exception):
    """The range begins behind the end of the block; the text says where that is."""


def asked_part(values: list[str], size_bytes: int) -> range | None:
    """Return the bytes that are asked for, at least one; None: all of them.

    Args:
        values: Each `Range` header of the request.
        size_bytes: The block's.

    Raises:
        Unsatisfiable: There is no such byte.
    """
    asked = _RANGE.fullmatch(values[0]) if len(values) == 1 else None
    if asked is None:
        return None
    first, last = asked.groups()
    if not first:
        if not last:
            return None
        # The last so many.
        start, stop = max(0, size_bytes - int(last)), size_bytes
    else:
        start = int(first)
        stop = min(size_bytes, int(last) + 1) if last else size_bytes
        if last and int(last) < start:
            return None
    if start >= stop:
        raise Unsatisfiable(f"{values[0]!r} asks for nothing of a block of {size_bytes} bytes")
    return range(start, stop)
