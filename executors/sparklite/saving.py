"""Results as files: each partition becomes one, under a name that is there only when it is complete.

Two attempts at a partition write files of their own and rename them, so they cannot mix. All of it happens in a directory
`_temporary` that the driver made and will take away: an attempt that comes too late finds nowhere to write.
"""

import bz2
import gzip
import pickle
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from .files import FilePiece, opened
from .pickling import pickled

if TYPE_CHECKING:
    from .task import Task

#: In which attempts write.
TEMPORARY: Final = "_temporary"
#: Lines that are put together before they are written.
_LINES: Final = 1024
#: What a file of pickled items begins with.
_MAGIC: Final = b"mesolite pickles 1\n"
_LENGTH_BYTES: Final = 8


class _Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...
    def close(self) -> object: ...


@dataclass(frozen=True, slots=True)
class SaveLines:
    """Result of one partition: its items are written as lines, and the file's name is returned."""

    directory: str
    #: The file's ending, which says how it is compressed: "", ".gz", ".bz2" or ".deflate".
    suffix: str

    def __call__(self, task: "Task", items: Iterator[Any]) -> str:
        def write(file: IO[bytes]) -> None:
            with closing(_COMPRESS[self.suffix](file)) as sink:
                while batch := list(islice(items, _LINES)):
                    sink.write(_as_lines(batch))

        return _written(task, self.directory, self.suffix, write)


@dataclass(frozen=True, slots=True)
class SavePickled:
    """Result of one partition: its items are written as pickled lists, and the file's name is returned."""

    directory: str
    #: Items in each list.
    batch: int

    def __call__(self, task: "Task", items: Iterator[Any]) -> str:
        def write(file: IO[bytes]) -> None:
            file.write(_MAGIC)
            while batch := list(islice(items, self.batch)):
                data = pickled(batch)
                file.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

        return _written(task, self.directory, "", write)


@dataclass(frozen=True, slots=True)
class ReadPickled:
    """What `SavePickled` wrote."""

    def __call__(self, piece: FilePiece) -> Iterator[Any]:
        with opened(piece.path) as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ValueError(
                    f"{piece.path} was not written by saveAsPickleFile of sparklite (Spark's own format is another)"
                )
            while prefix := file.read(_LENGTH_BYTES):
                length = int.from_bytes(prefix, "big")
                data = file.read(length)
                if len(prefix) != _LENGTH_BYTES or len(data) != length:
                    raise ValueError(f"{piece.path} ends in the middle: it is damaged, or still being written")
                yield from pickle.loads(data)


def _written(task: "Task", directory: str, suffix: str, write: Callable[[IO[bytes]], None]) -> str:
    folder = Path(directory) / TEMPORARY
    name = f"part-{task.spec.partition:05}{suffix}"
    own = folder / f"task-{task.spec.task_id}-{name}"
    try:
        with own.open("xb") as file:
            write(file)
        own.replace(folder / name)
    except FileNotFoundError:
        if folder.is_dir():
            raise
        raise FileNotFoundError(
            f"{folder} is not there. This worker cannot see the directory that the driver made: workers write results "
            "themselves, so the path must lead to one directory everywhere (with containers: a mounted volume)"
        ) from None
    finally:
        own.unlink(missing_ok=True)
    return name


def _as_lines(items: list[Any]) -> bytes:
    texts = [item if type(item) is str else _text_of(item) for item in items]
    texts.append("")
    return "\n".join(texts).encode("utf-8", "surrogateescape")


def _text_of(item: Any) -> str:
    """Bytes are written as they are; everything else as `str` shows it."""
    return item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else str(item)


class _Deflate:
    """Writes a stream of zlib's, which is what Hadoop's DefaultCodec writes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file: Final = file
        self._stream: Final = zlib.compressobj()

    def write(self, data: bytes) -> None:
        self._file.write(self._stream.compress(data))

    def close(self) -> None:
        self._file.write(self._stream.flush())


class _Plain:
    """Writes bytes as they are; the file is closed by whoever opened it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write: Final = file.write

    def close(self) -> None:
        """Nothing is held back."""


def _gzip(file: IO[bytes]) -> _Sink:
    # No name and no time in it, so that two attempts write the same bytes.
    return gzip.GzipFile("", "wb", fileobj=file, mtime=0)


def _bzip2(file: IO[bytes]) -> _Sink:
    return bz2.BZ2File(file, "wb")


_COMPRESS: Final[dict[str, Callable[[IO[bytes]], _Sink]]] = {
    "": _Plain,
    ".gz": _gzip,
    ".bz2": _bzip2,
    ".deflate": _Deflate,
}
