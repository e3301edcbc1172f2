"""Files as inputs: a piece of one or more that a task reads, and how what is compressed is read.

Workers read files themselves, under the path that the driver saw. So a path has to lead to the same file on the driver and in
the image of every agent: a mounted volume, or the agents' own file system with the process containerizer.
"""

import bz2
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

#: Read at a time: large enough that the calls do not count, small enough to stay in the processor's cache.
PIECE_BYTES: Final = 256 * 1024


class FilePiece(NamedTuple):
    """The bytes from `start` to before `end` of a file."""

    path: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ReadWhole:
    """(path as an address, all bytes) of each file: `binaryFiles`, and with `text` `wholeTextFiles`."""

    #: Uncompressed; and decoded, where it is "str".
    text: str = ""

    def __call__(self, paths: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
        for path in paths:
            with opened(path) as file:
                data = b"".join(uncompressed(path, file)) if self.text else file.read()
            address = f"file:{path}"
            if self.text == "str":
                yield address, data.decode("utf-8", "replace")
            else:
                yield address.encode() if self.text else address, data


@dataclass(frozen=True, slots=True)
class ReadRecords:
    """`binaryRecords`: bytes of one length; pieces begin and end between records."""

    length: int

    def __call__(self, piece: FilePiece) -> Iterator[bytes]:
        with opened(piece.path) as file:
            file.seek(piece.start)
            for place in range(piece.start, piece.end, self.length):
                record = file.read(self.length)
                if len(record) != self.length:
                    raise ValueError(
                        f"{piece.path} is no file of records of {self.length} bytes: the one at byte {place} has {len(record)}"
                    )
                yield record


def opened(path: str) -> IO[bytes]:
    """Open a file for reading.

    Raises:
        FileNotFoundError: It is not there, with what may be the reason.
    """
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"the input file {path} is not there. It is gone, or this worker cannot see it: workers read files themselves, so "
            "the path must lead to it on every agent (with containers: in the image or in a mounted volume)"
        ) from None


def is_compressed(path: str) -> bool:
    """Whether the name says so: such a file can only be read from its beginning, so it is one piece."""
    return Path(path).suffix in _UNCOMPRESS


def uncompressed(path: str, file: IO[bytes]) -> Iterator[bytes]:
    """The contents of a file in pieces, uncompressed as its name says."""
    uncompress = _UNCOMPRESS.get(Path(path).suffix)
    return _pieces(file) if uncompress is None else uncompress(file)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(PIECE_BYTES), b"")


def _gzip(file: IO[bytes]) -> Iterator[bytes]:
    with gzip.open(file) as inner:
        yield from iter(lambda: inner.read(PIECE_BYTES), b"")


def _bzip2(file: IO[bytes]) -> Iterator[bytes]:
    with bz2.open(file) as inner:
        yield from iter(lambda: inner.read(PIECE_BYTES), b"")


def _deflate(file: IO[bytes]) -> Iterator[bytes]:
    stream = zlib.decompressobj()
    yield from map(stream.decompress, _pieces(file))
    yield stream.flush()


#: By the ending that Hadoop's codecs give to names.
_UNCOMPRESS: Final[dict[str, Callable[[IO[bytes]], Iterator[bytes]]]] = {
    ".gz": _gzip,
    ".bz2": _bzip2,
    ".deflate": _deflate,
}
