"""RESP2, as much of it as streams need: commands into bytes, bytes into replies. No I/O.

A reply is None, a number, bytes, a list of replies, or a `RedisRefusal`: errors are values here, because the reply to the next
command stands right behind. Bytes may come in any pieces; what is incomplete waits. Redis is not trusted to speak RESP: sizes and
depths are bounded, and whatever is not RESP ends the connection (`NotRedis`).

https://redis.io/docs/latest/develop/reference/protocol-spec
"""

from typing import Final, TypeAlias

#: The largest value read. Entries are far smaller (`wire.MAX_ENTRY_BYTES`); several of them come as values of their own.
MAX_VALUE_BYTES: Final = 128 * 1024 * 1024
#: The most members of one list. XREAD's COUNT is a hundred times smaller.
MAX_MEMBERS: Final = 100_000
#: XREAD answers lists four deep: streams, stream, entries, entry, fields.
MAX_DEPTH: Final = 8
#: The longest line that says a size, a number or an error.
MAX_LINE_BYTES: Final = 64 * 1024

_LINE_END: Final = b"\r\n"
_VALUE: Final = ord("$")
_LIST: Final = ord("*")
_NUMBER: Final = ord(":")
_WORD: Final = ord("+")
_ERROR: Final = ord("-")
#: Numbers have 64 bits.
_MOST: Final = 2**63
_MAX_DIGITS: Final = 21


class NotRedis(Exception):
    """What came is not RESP2: close the connection."""


class RedisRefusal:
    """An error that Redis answered."""

    __slots__ = ("message",)

    def __init__(self, message: str) -> None:
        self.message: Final = message

    def __repr__(self) -> str:
        return f"RedisRefusal({self.message!r})"


Reply: TypeAlias = "int | bytes | RedisRefusal | list[Reply] | None"


def command(*words: bytes | str | int) -> bytes:
    """Return a command as Redis reads it."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        raw = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


class Appending:
    """XADD to one stream with one field, over and over: all but the payload is encoded once."""

    __slots__ = ("_head",)

    def __init__(self, stream: str, field: str) -> None:
        #: All before the payload; the number of words counts it in.
        self._head: Final = b"*5" + command("XADD", stream, "*", field)[2:]

    def command(self, payload: bytes) -> bytes:
        """Return the command that appends a payload."""
        return b"%b$%d\r\n%b\r\n" % (self._head, len(payload), payload)


class ReplyParser:
    """Bytes in, replies out."""

    def __init__(self) -> None:
        #: What was not used up, in the pieces in which it came: joined when enough is there to go on.
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        #: Nothing can come of fewer bytes than these.
        self._needed_bytes = 1
        #: Lists that lack members, the innermost last, each with its final length.
        self._open: list[tuple[list[Reply], int]] = []

    def feed(self, data: bytes) -> list[Reply]:
        """Take bytes, and return the replies that they complete.

        Raises:
            NotRedis: They are not RESP2, or larger than anything that was asked for.
        """
        self._pieces.append(data)
        self._held_bytes += len(data)
        if self._held_bytes < self._needed_bytes:
            return []
        buffer = data if len(self._pieces) == 1 else b"".join(self._pieces)
        replies: list[Reply] = []
        used = self._parse(buffer, replies)
        rest = buffer[used:]
        self._pieces = [rest] if rest else []
        self._held_bytes = len(rest)
        return replies

    def _parse(self, buffer: bytes, replies: list[Reply]) -> int:
        """Append what is complete to `replies`; return how much was used, and set how much is needed beyond."""
        at, size = 0, len(buffer)
        while True:
            line_end = buffer.find(_LINE_END, at)
            if line_end < 0:
                if size - at > MAX_LINE_BYTES:
                    raise NotRedis("a line that does not end")
                self._needed_bytes = size - at + 1
                return at
            kind = buffer[at]
            after = line_end + 2
            value: Reply
            if kind == _VALUE:
                length = _whole(buffer[at + 1 : line_end], -1, MAX_VALUE_BYTES)
                if length < 0:
                    value = None
                else:
                    end = after + length
                    if size < end + 2:
                        self._needed_bytes = end + 2 - at
                        return at
                    if buffer[end : end + 2] != _LINE_END:
                        raise NotRedis("a value longer than it said")
                    value = buffer[after:end]
                    after = end + 2
            elif kind == _LIST:
                length = _whole(buffer[at + 1 : line_end], -1, MAX_MEMBERS)
                if length > 0:
                    if len(self._open) == MAX_DEPTH:
                        raise NotRedis("lists too deep in one another")
                    self._open.append(([], length))
                    at = after
                    continue
                value = None if length < 0 else []
            else:
                value = _simple(kind, buffer[at + 1 : line_end])
            at = after
            self._put(value, replies)

    def _put(self, value: Reply, replies: list[Reply]) -> None:
        """Put a value into the innermost list, and each list that is complete into the one around it."""
        while self._open:
            members, length = self._open[-1]
            members.append(value)
            if len(members) < length:
                return
            self._open.pop()
            value = members
        replies.append(value)


def _simple(kind: int, line: bytes) -> Reply:
    if kind == _NUMBER:
        return _whole(line, -_MOST, _MOST)
    if kind == _WORD:
        return line
    if kind == _ERROR:
        return RedisRefusal(line.decode(errors="replace"))
    raise NotRedis(f"a line that begins with {bytes([kind])!r}")


def _whole(digits: bytes, least: int, most: int) -> int:
    """Read a whole number of a range."""
    try:
        number = int(digits[:_MAX_DIGITS])
    except ValueError:
        raise NotRedis(f"{digits[:32]!r} where a number stands") from None
    if not least <= number <= most:
        raise NotRedis(f"{digits[:32]!r}, which is out of bounds")
    return number
