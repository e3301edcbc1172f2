"""Follows one stream over connections that come and go: which command to send next, and which payloads a reply holds. No I/O.

A reader keeps its position: the id of the last entry it saw. Ids grow, but a primary that was put in another's place may lack
the newest entries or have a clock that is behind: then entries come whose ids are below the position and are never read. So on
each new connection, and after a while without entries, the reader looks at the newest entry; where that is below its position, it
reads from the beginning. What comes twice so is for the numbering to skip (`link`).
"""

from typing import Final

from .resp import RedisRefusal, Reply, command
from .wire import FIELD

BEGINNING: Final = "0-0"
#: How long Redis holds a read without entries. It bounds how long a Redis that says nothing any more goes unnoticed.
BLOCK_MS: Final = 2_000
#: Entries of one reply: a reader takes what is there, and comes again.
MAX_ENTRIES: Final = 512
#: After so many reads in a row that brought nothing, it is made sure that what is waited for can come.
EMPTY_READS: Final = 5


class ReadRefused(Exception):
    """Redis does not let this stream be read, now or ever; says why. Close the connection."""


class StreamReader:
    """One reader of one stream. A connection begins with `first`; each reply gives the next command.

    Args:
        stream: Its key.
        position: Where to begin: the id of the last entry that is not wanted.
    """

    def __init__(self, stream: str, position: str = BEGINNING) -> None:
        self._stream: Final = stream
        self._position = position
        self._checking = False
        self._empty_reads = 0
        words = ("XREAD", "COUNT", MAX_ENTRIES, "BLOCK", BLOCK_MS, "STREAMS", stream)
        #: A read but for its last word, the position; a command's length counts it in.
        self._read_head: Final = b"*%d" % (len(words) + 1) + command(*words)[2:]

    @property
    def position(self) -> str:
        """All entries up to this id were handed out, and may be trimmed."""
        return self._position

    def first(self) -> bytes:
        """Return the command that begins a connection."""
        self._checking = True
        self._empty_reads = 0
        return command("XREVRANGE", self._stream, "+", "-", "COUNT", 1)

    def take(self, reply: Reply) -> tuple[list[bytes], bytes]:
        """Return the payloads of a reply in order, and the next command.

        Raises:
            ReadRefused: The reply is an error: this server is no primary any more, or the key is not a stream.
        """
        if isinstance(reply, RedisRefusal):
            raise ReadRefused(reply.message)
        if self._checking:
            self._checking = False
            entries = _entries(reply)
            if not entries or _order(entries[0][0]) < _order(self._position):
                self._position = BEGINNING
            return [], self._read()
        if reply is None:
            self._empty_reads += 1
            return [], self.first() if self._empty_reads >= EMPTY_READS else self._read()
        self._empty_reads = 0
        entries = _entries_of_read(reply)
        self._position = entries[-1][0]
        return [payload for _, payload in entries], self._read()

    def _read(self) -> bytes:
        position = self._position.encode()
        return b"%b$%d\r\n%b\r\n" % (self._read_head, len(position), position)


def is_before(entry_id: str, other_id: str) -> bool:
    """Whether one id ("milliseconds-sequence") is below another."""
    return _order(entry_id) < _order(other_id)


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def _entries_of_read(reply: Reply) -> list[tuple[str, bytes]]:
    """Of the one stream that was read: [[key, entries]]."""
    match reply:
        case [[_, entries]]:
            found = _entries(entries)
            if found:
                return found
        case _:
            pass
    raise ReadRefused("an answer to XREAD that is none")


def _entries(reply: Reply) -> list[tuple[str, bytes]]:
    """Read [[id, [field, value, ...]], ...]. Somebody else's entries, without our field, count as empty ones."""
    if not isinstance(reply, list):
        raise ReadRefused("an answer with something else than entries")
    entries: list[tuple[str, bytes]] = []
    for entry in reply:
        match entry:
            case [bytes(entry_id), [field, bytes(payload)]] if field == _FIELD:
                entries.append((entry_id.decode(), payload))
            case [bytes(entry_id), *_]:
                entries.append((entry_id.decode(), b""))
            case _:
                raise ReadRefused("an entry that is none")
    return entries


_FIELD: Final = FIELD.encode()
