"""Frames: some thousands of pairs as bytes, compressed where that pays. A segment of a shuffle is frames one after the other.

head    how it is compressed, whether the values are the keys, how many pairs, how many bytes follow, how many are the keys'
body    a column of keys, a column of values (columns.py)
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct
from types import ModuleType
from typing import Any, Final, NamedTuple

from .columns import decode_column, encode_column, same_objects

_HEAD: Final = Struct("<c?IQQ")
_RAW, _ZLIB, _ZSTD = b"r", b"z", b"s"
#: Less is not worth a look.
_MIN_COMPRESSED_BYTES: Final = 1024
#: So much of a frame's middle is compressed first, to see what would come of the rest.
_PROBE_BYTES: Final = 16 * 1024
#: zlib's fastest level makes some 100 MB/s, about what a disk or a network of 1 Gbit/s takes: it pays where little is left.
_ZLIB_PAYS_BELOW: Final = 0.3
#: Zstandard's makes five times as much.
_ZSTD_PAYS_BELOW: Final = 0.8


class Damaged(Exception):
    """The bytes are no frames: they were cut off, or are something else."""


class Columns(NamedTuple):
    """Pairs, keys apart from values: what `zip` makes pairs of. Where each value is its key, both are one list."""

    keys: Sequence[Any]
    values: Sequence[Any]


def _zstd() -> ModuleType | None:
    try:
        return __import__("compression.zstd", fromlist=["compress"])
    except ImportError:
        return None


#: Pythons from 3.14 on have it.
_ZSTANDARD: Final = _zstd()


def encode_frame(keys: Sequence[Any], values: Sequence[Any], *, compress: bool) -> tuple[bytes, int]:
    """Make one frame of pairs, at least one; returns how long it would be without compression, too.

    Raises:
        Exception: Some of them cannot be pickled.
    """
    same = same_objects(keys, values)
    key_column = encode_column(keys)
    body = key_column if same else key_column + encode_column(values)
    how, stored = _compressed(body) if compress and len(body) >= _MIN_COMPRESSED_BYTES else (_RAW, body)
    return _HEAD.pack(how, same, len(keys), len(stored), len(key_column)) + stored, _HEAD.size + len(body)


def decode_frames(pieces: Iterable[bytes], note: Callable[[int], None] | None = None) -> Iterator[Columns]:
    """Make pairs of frames that come in pieces of any size.

    Args:
        pieces: The bytes.
        note: Told how many bytes each frame is without compression, before its pairs are given.

    Raises:
        Damaged: They are none.
        Exception: Whatever unpickling a user's objects raises.
    """
    source = _Source(pieces)
    while head := source.take(_HEAD.size):
        try:
            how, same, pairs, length, keys_length = _HEAD.unpack(head)
            stored = source.take(length)
            if len(stored) < length:
                raise Damaged(f"{length} bytes are missing at the end")
            body = memoryview(_plain(how, stored))
        except (ValueError, zlib.error) as error:
            raise Damaged(f"{error or type(error).__name__}") from error
        keys = decode_column(body[:keys_length])
        values = keys if same else decode_column(body[keys_length:])
        if not len(keys) == len(values) == pairs:
            raise Damaged(f"{len(keys)} keys and {len(values)} values instead of {pairs}")
        if note is not None:
            note(len(body))
        yield Columns(keys, values)


def _compressed(body: bytes) -> tuple[bytes, bytes]:
    if len(body) > 2 * _PROBE_BYTES:
        middle = (len(body) - _PROBE_BYTES) // 2
        probe = body[middle : middle + _PROBE_BYTES]
        if not _pays(len(_squeezed(probe)), len(probe)):
            return _RAW, body
    squeezed = _squeezed(body)
    return (_ZLIB if _ZSTANDARD is None else _ZSTD, squeezed) if _pays(len(squeezed), len(body)) else (_RAW, body)


def _pays(squeezed_bytes: int, plain_bytes: int) -> bool:
    return squeezed_bytes < plain_bytes * (_ZLIB_PAYS_BELOW if _ZSTANDARD is None else _ZSTD_PAYS_BELOW)


def _squeezed(data: bytes) -> bytes:
    return zlib.compress(data, 1) if _ZSTANDARD is None else bytes(_ZSTANDARD.compress(data, 1))


def _plain(how: bytes, data: memoryview) -> bytes | memoryview:
    if how == _RAW:
        return data
    if how == _ZLIB:
        return zlib.decompress(data)
    if how != _ZSTD:
        raise ValueError(f"a frame begins with {how!r}")
    if _ZSTANDARD is None:
        raise RuntimeError(
            "a worker of Python 3.14 or later wrote this with Zstandard, which this one lacks: "
            "let all executors have the same Python, or set spark.shuffle.compress to false"
        )
    return bytes(_ZSTANDARD.decompress(data))


class _Source:
    """Pieces of any size, taken as is wanted; not copied where a whole taking lies in one piece."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: Final = iter(pieces)
        self._rest = memoryview(b"")

    def take(self, count: int) -> memoryview:
        """Return the next bytes; none at the end.

        Raises:
            ValueError: The end comes before so many.
        """
        if len(self._rest) >= count:
            taken, self._rest = self._rest[:count], self._rest[count:]
            return taken
        parts, missing = [self._rest], count - len(self._rest)
        self._rest = memoryview(b"")
        for piece in self._pieces:
            view = memoryview(piece)
            parts.append(view[:missing])
            self._rest = view[missing:]
            missing -= len(parts[-1])
            if not missing:
                break
        whole = memoryview(b"".join(parts))
        if whole and missing:
            raise Damaged(f"{missing} of {count} bytes are missing at the end")
        return whole
