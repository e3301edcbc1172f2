"""What happened, line by line: the end of it is kept for the message of a failure, all of it goes into one hash."""

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from .wording import in_words

#: Lines kept for a failure's message: what led to it is rarely further back, and with `--trace` there is everything.
KEPT_LINES: Final = 60


class _Line(NamedTuple):
    now_ms: int
    who: str
    what: str
    #: Read only when somebody reads the line.
    payload: bytes

    def __str__(self) -> str:
        said = f": {in_words(self.payload)}" if self.payload else ""
        return f"{self.now_ms / 1000:10.3f} {self.who:<8} {self.what}{said}"


class Trace:
    """The story of one run."""

    def __init__(self, heard: Callable[[str], None] | None = None) -> None:
        """Begin.

        Args:
            heard: Given each line at once; nobody if absent.
        """
        self._heard: Final = heard
        self._hash: Final = hashlib.blake2b(digest_size=16)
        self._lines: Final[deque[_Line]] = deque(maxlen=KEPT_LINES)
        #: Lines so far.
        self.count = 0

    def note(self, now_ms: int, who: str, what: str, payload: bytes = b"") -> None:
        """Add a line, with a message where it is about one."""
        line = _Line(now_ms, who, what, payload)
        self.count += 1
        self._hash.update(f"{now_ms} {who} {what} ".encode())
        self._hash.update(payload)
        self._lines.append(line)
        if self._heard is not None:
            self._heard(str(line))

    def digest(self) -> str:
        """Return the hash of all lines so far: equal runs have equal ones."""
        return self._hash.hexdigest()

    def tail(self) -> str:
        """Return the last lines."""
        return "\n".join(map(str, self._lines))
