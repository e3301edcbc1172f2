r"""Lines of text files, by Hadoop's rules, so that each line is in the same partition as with Spark.

A line ends with \n, \r\n or \r, and with nothing else: what Unicode calls a line end besides is part of the line. A piece has
the lines that begin after its first byte and up to the byte at its end, that one included, because the next piece leaves out
everything to the end of the line that it begins in; the first piece also has the line at byte 0.

Bytes are read, decoded and cut many lines at a time: by hand, line by line, would take ten times as long.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any, Final

from .files import PIECE_BYTES, FilePiece, is_compressed, opened, uncompressed

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ReadLines:
    """`textFile`."""

    #: Decode UTF-8, with U+FFFD for what is none; else lines stay bytes.
    use_unicode: bool

    def __call__(self, piece: FilePiece) -> Iterator[Any]:
        blocks = _whole_lines(_bytes_of(piece))
        return chain.from_iterable(map(_texts if self.use_unicode else bytes.splitlines, blocks))


def _texts(data: bytes) -> list[str]:
    text = data.decode("utf-8", "replace")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut anew so that each block ends where a line ends."""
    rest: list[bytes] = []
    for piece in pieces:
        # A \r at the very end may have its \n in the next piece.
        cut = max(piece.rfind(b"\n"), piece.rfind(b"\r", 0, len(piece) - 1)) + 1
        if cut:
            yield b"".join((*rest, piece[:cut]))
            rest.clear()
        if cut < len(piece):
            rest.append(piece[cut:])
    if rest:
        yield b"".join(rest)


def _bytes_of(piece: FilePiece) -> Iterator[bytes]:
    with opened(piece.path) as file:
        if is_compressed(piece.path):
            yield from uncompressed(piece.path, file)
        else:
            yield from _lines_between(file, piece.start, piece.end)


def _lines_between(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    """The bytes of the lines that belong to a piece."""
    place = start + _passed_over(file, start)
    if place > end:
        return
    file.seek(place)
    last = b""
    while place < end and (data := file.read(min(PIECE_BYTES, end - place))):
        place += len(data)
        last = data[-1:]
        yield data
    following = _to_end_of_line(file, after=last)
    if following:
        yield following


def _passed_over(file: IO[bytes], start: int) -> int:
    """How many bytes at the beginning of a piece belong to the one before, or are no text."""
    file.seek(start)
    if start:
        return len(_to_end_of_line(file))
    return len(_BYTE_ORDER_MARK) if file.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK else 0


def _to_end_of_line(file: IO[bytes], after: bytes = b"") -> bytes:
    r"""Read on to the end of a line: the rest of one, or the next one if `after`, the byte before, ends a line.

    Between \r and \n there is no line: then it is the \n alone.
    """
    line = b""
    while part := file.readline(PIECE_BYTES):
        line += part
        if after == b"\r" and line[:1] == b"\n":
            return b"\n"
        at = line.find(b"\r")
        if at >= 0:
            if at + 1 == len(line):
                line += file.read(1)
            return line[: at + 2] if line[at + 1 : at + 2] == b"\n" else line[: at + 1]
        if part.endswith(b"\n"):
            break
    return line
