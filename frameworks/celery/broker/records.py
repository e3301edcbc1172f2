"""A message as it lies in Redis: what is owned, and how it looks when it goes back. Pure; knows kombu's layout, not kombu.

An owned message is a field of a hash, named by its id:

    id      LIFE.SALT.TAKE.INDEX      given by whoever took it; sorts as taken
    value   LENGTH:KEY MESSAGE        the key of the list it came from, and the message, byte for byte

The message itself is never looked at in Redis: one that nobody can read is owned like any other.
"""

import hashlib
import json
from typing import Any, Final, NamedTuple, cast

#: Of a message that went back after it was given to an executor: [tag, times, times that a worker was lost]. It is in the
#: message, so that it survives whoever has it meanwhile; with the tag, because a retry is a new message with the same headers.
RETURNS_HEADER: Final = "mesolite-returns"


class Returns(NamedTuple):
    """How often a message went back to its queue after it had been given to an executor."""

    times: int = 0
    #: Of these, not because its task asked for it: a worker was lost under it.
    losses: int = 0


def pack_record(key: str, raw: bytes) -> bytes:
    """Return what is written for a message that came from a list."""
    encoded = key.encode()
    return b"%d:%b%b" % (len(encoded), encoded, raw)


def unpack_record(record: bytes) -> tuple[str, bytes]:
    """Return the list's key and the message."""
    length, _, rest = record.partition(b":")
    size = int(length)
    return rest[:size].decode(), rest[size:]


def id_order(item_id: str) -> tuple[int, str, int, int]:
    """Return what ids sort by."""
    life, salt, take, index = item_id.split(".")
    return int(life), salt, int(take), int(index)


def tag_of(message: object) -> str | None:
    """Return a decoded message's tag, None where it has none: then no Celery can run it."""
    if not isinstance(message, dict):
        return None
    properties = cast("dict[str, Any]", message).get("properties")
    if not isinstance(properties, dict):
        return None
    tag = cast("dict[str, Any]", properties).get("delivery_tag")
    return tag if isinstance(tag, str) and tag else None


def returns_of(message: object, tag: str) -> Returns:
    """Return how often this very message went back."""
    headers = cast("dict[str, Any]", message).get("headers") if isinstance(message, dict) else None
    if not isinstance(headers, dict):
        return Returns()
    match cast("dict[str, Any]", headers).get(RETURNS_HEADER):
        case [str(of_tag), int(times), int(losses)] if of_tag == tag:
            return Returns(times, losses)
        case _:
            return Returns()


def other_tag(tag: str, key: str) -> str:
    """Return the tag by which a second copy of a message is known: an exchange puts one message into all queues bound to it."""
    return hashlib.sha256(f"{tag} {key}".encode()).hexdigest()[:32]


def mark_redelivered(message: dict[str, Any]) -> None:
    """Say in a decoded message that it was delivered before, where kombu says so."""
    headers = message.get("headers")
    if isinstance(headers, dict):
        headers["redelivered"] = True
    properties = message.get("properties")
    if isinstance(properties, dict):
        delivery = cast("dict[str, Any]", properties).get("delivery_info")
        if isinstance(delivery, dict):
            delivery["redelivered"] = True


def returned(raw: bytes, tag: str, returns: Returns) -> bytes:
    """Return a message as it goes back to its queue. One that cannot be read goes as it came."""
    try:
        message: object = json.loads(raw)
    except ValueError:
        return raw
    if not isinstance(message, dict):
        return raw
    known = cast("dict[str, Any]", message)
    mark_redelivered(known)
    headers = known.get("headers")
    if returns.times and isinstance(headers, dict):
        headers[RETURNS_HEADER] = [tag, returns.times, returns.losses]
    return json.dumps(known).encode()
