"""Columns of many values as bytes: a shuffle's keys apart from its values, each in the form that suits what it holds.

    text, bytes     joined by a separator that none of them has: three times as fast as pickle, and nothing beside the bytes
    int, float      an array of the narrowest type
    None            how many
    tuples          a column for each place, where all are of one length
    all else        one pickle

Types are exact: a subclass of `str` is pickled as what it is. What is one object in two places of a column of text comes back
as two that are equal.
"""

import pickle
import sys
from array import array
from collections.abc import Callable, Sequence
from operator import is_
from struct import Struct
from typing import Any, Final

from .pickling import pickled

#: The first byte of a column. Arrays have their type code there.
_TEXT, _TEXT_0, _BYTES, _BYTES_0, _NONE, _TUPLES, _PICKLE = b"T", b"Z", b"Y", b"X", b"N", b"U", b"P"
_SEPARATORS: Final = {_TEXT: "\n", _TEXT_0: "\0"}
_BYTES_SEPARATORS: Final = {_BYTES: b"\n", _BYTES_0: b"\0"}
_INT_CODES: Final = "bhiq"
_ARRAY_CODES: Final = {code.encode(): code for code in (*_INT_CODES, "d")}
_COUNT: Final = Struct("<Q")
#: Longer tuples are more likely of mixed types, and columns of few values cost more than they save.
_MAX_TUPLE: Final = 8
_MAX_DEPTH: Final = 3
#: Halves of surrogate pairs are text to Python, if to nobody else.
_ERRORS: Final = "surrogatepass"


def same_objects(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two columns hold the same objects: as those of a sort of lines by themselves do."""
    return len(one) == len(other) and all(map(is_, one, other))


def encode_column(items: Sequence[Any], depth: int = 0) -> bytes:
    """Make bytes of values, at least one.

    Raises:
        Exception: Some of them cannot be pickled.
    """
    types = set(map(type, items))
    if len(types) == 1:
        encode = _ENCODERS.get(types.pop())
        encoded = encode(items, depth) if encode is not None else None
        if encoded is not None:
            return encoded
    return _PICKLE + pickled(items)


def decode_column(data: memoryview) -> Sequence[Any]:
    """Make values of bytes.

    Raises:
        Exception: Whatever unpickling a user's objects raises.
    """
    kind, rest = bytes(data[:1]), data[1:]
    code = _ARRAY_CODES.get(kind)
    if code is not None:
        return _numbers(code, rest)
    separator = _SEPARATORS.get(kind)
    if separator is not None:
        return str(rest, "utf-8", _ERRORS).split(separator)
    between = _BYTES_SEPARATORS.get(kind)
    if between is not None:
        return bytes(rest).split(between)
    if kind == _NONE:
        return [None] * _COUNT.unpack(rest)[0]
    if kind == _TUPLES:
        return _tuples(rest)
    assert kind == _PICKLE, f"a column begins with {kind!r}"
    found: Sequence[Any] = pickle.loads(rest)
    return found


def _encode_text(items: Sequence[Any], depth: int) -> bytes | None:
    for kind, separator in _SEPARATORS.items():
        joined = separator.join(items)
        if joined.count(separator) == len(items) - 1:
            return kind + joined.encode("utf-8", _ERRORS)
    return None


def _encode_bytes(items: Sequence[Any], depth: int) -> bytes | None:
    for kind, separator in _BYTES_SEPARATORS.items():
        joined = separator.join(items)
        if joined.count(separator) == len(items) - 1:
            return kind + joined
    return None


def _encode_ints(items: Sequence[Any], depth: int) -> bytes | None:
    for code in _INT_CODES:
        try:
            return code.encode() + _packed(array(code, items))
        except OverflowError:
            continue
    return None


def _encode_floats(items: Sequence[Any], depth: int) -> bytes | None:
    return b"d" + _packed(array("d", items))


def _encode_nones(items: Sequence[Any], depth: int) -> bytes | None:
    return _NONE + _COUNT.pack(len(items))


def _encode_tuples(items: Sequence[Any], depth: int) -> bytes | None:
    width = len(items[0])
    if not 0 < width <= _MAX_TUPLE or depth >= _MAX_DEPTH or set(map(len, items)) != {width}:
        return None
    columns = [encode_column(column, depth + 1) for column in zip(*items, strict=True)]
    if all(column[:1] == _PICKLE for column in columns):
        # One pickle of all knows what they share.
        return None
    return b"".join((_TUPLES, *(part for column in columns for part in (_COUNT.pack(len(column)), column))))


_ENCODERS: Final[dict[type, Callable[[Sequence[Any], int], bytes | None]]] = {
    str: _encode_text,
    bytes: _encode_bytes,
    int: _encode_ints,
    float: _encode_floats,
    type(None): _encode_nones,
    tuple: _encode_tuples,
}


def _packed(numbers: "array[Any]") -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _numbers(code: str, data: memoryview) -> list[Any]:
    numbers: array[Any] = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def _tuples(data: memoryview) -> list[Any]:
    columns: list[Sequence[Any]] = []
    while data:
        length = _COUNT.unpack(data[: _COUNT.size])[0]
        columns.append(decode_column(data[_COUNT.size : _COUNT.size + length]))
        data = data[_COUNT.size + length :]
    return list(zip(*columns, strict=True))
