"""Messages as kombu writes and reads them."""

import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

import msgspec
from kombu.utils.json import loads

from .book import Arrival
from .records import returns_of, tag_of

_loads: Final = cast("Callable[[str], Any]", loads)
#: What comes out of kombu's reader of JSON, which makes dates, decimals and the like of what says that it is one.
_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)
#: In what kombu's reader makes a date, a decimal and the like of; JSON lets each of its letters be escaped.
_MARKED: Final = re.compile(rb"__type__|\\u00[567]")
#: What comes out of kombu's `Message` where fields are missing or of another kind, or the body is not in its encoding.
UNDELIVERABLE: Final = (ValueError, TypeError, KeyError, AttributeError)


class Layout(NamedTuple):
    """How kombu names the lists of a queue (`global_keyprefix`, `sep`)."""

    prefix: str
    separator: str

    def queue_of(self, key: str) -> str:
        """Return the queue of a list."""
        return key.removeprefix(self.prefix).rsplit(self.separator, 1)[0]


def decode(raw: bytes) -> dict[str, Any]:
    """Return a message.

    Raises:
        ValueError: It is not one.
    """
    try:
        message: Any = _read(raw)
    except _UNREADABLE as error:
        raise ValueError(f"not a message of kombu: {error}") from None
    if not isinstance(message, dict):
        raise ValueError(f"not a message of kombu, but a {type(message).__name__}")
    return cast("dict[str, Any]", message)


def _read(raw: bytes) -> Any:
    """Return what kombu's reader would, sooner, and with one copy of each field's name for all messages.

    Hundreds of messages are at hand, and of the 4 KiB that one took, nearly half were names. What only kombu's reader makes
    something of (types of its own), or what this one refuses (NaN, half a surrogate), is left to that.
    """
    if _MARKED.search(raw):
        return _loads(raw.decode())
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return _loads(raw.decode())


def arrival(
    item_id: str, key: str, raw: bytes, layout: Layout, *, state: str = "", redelivered: bool = False
) -> Arrival:
    """Read a message that was taken.

    Raises:
        ValueError: Nobody can.
    """
    message = decode(raw)
    tag = tag_of(message)
    if tag is None:
        raise ValueError("not a message of kombu: it has no delivery tag")
    return Arrival(
        *(item_id, key, layout.queue_of(key), raw, message, tag, returns_of(message, tag)),
        state=state,
        redelivered=redelivered,
    )


def aside_entry(key: str, raw: bytes, why: str, at_s: float) -> bytes:
    """Return what is kept of a message that is set aside: a line of JSON, which says whence and why, and the message."""
    said = json.dumps({"key": key, "why": why, "at_s": round(at_s, 3)})
    return said.encode() + b"\n" + raw
