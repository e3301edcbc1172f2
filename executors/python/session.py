"""The name of a client's life, by which every executor can tell the newer of two.

It begins with the id that Redis gave the entry with which the client opened its results stream: these ids grow, whatever the
clocks of clients say. A few random letters tell apart two lives that two primaries, in a failover, gave the same id.
"""

import re
from typing import Final

_FORM: Final = re.compile(r"(\d{1,20})-(\d{1,20})\.([0-9a-f]{8,32})", re.ASCII)


def session_name(entry_id: str, letters: str) -> str:
    """Return the session's name.

    Args:
        entry_id: "milliseconds-sequence", of Redis.
        letters: 8 to 32 random hexadecimal digits.
    """
    name = f"{entry_id}.{letters}"
    assert session_order(name) is not None, name
    return name


def session_order(session: str) -> tuple[int, int, str] | None:
    """Return what sessions are compared by, the newer being greater; None where it is no session of a client."""
    form = _FORM.fullmatch(session)
    return None if form is None else (int(form[1]), int(form[2]), form[3])
