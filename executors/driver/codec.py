"""The executor protocol's lines: one JSON object each, bytes in base64 (docs/executor-protocol.md).

Unknown fields are passed over, so that an agent may learn to say more; an unknown kind, or a field of another type than it should
have, is a `BadLine`. What passes here is well typed, and everything behind it relies on that.
"""

import json
from base64 import b64decode
from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeGuard, TypeVar

from .protocol import (
    NO_LABELS,
    NO_RANGES,
    NO_SCALARS,
    Acknowledged,
    AgentMessage,
    Error,
    ExecutorMessage,
    Heard,
    Heartbeat,
    Kill,
    Launch,
    LaunchGroup,
    Resized,
    Said,
    Shutdown,
    Subscribe,
    Subscribed,
    Task,
    Totals,
    Update,
)

Fields: TypeAlias = dict[str, Any]
ValueT = TypeVar("ValueT")

#: Of a line that cannot be taken, an error shows so much.
SHOWN_CHARACTERS: Final = 200


class BadLine(ValueError):
    """A line is no message of this protocol: the two ends are not of versions that go together, or one of them is broken."""


def decode_lines(lines: Sequence[bytes]) -> list[AgentMessage]:
    """Read what an agent said.

    Args:
        lines: Without their line ends; empty ones are passed over.

    Raises:
        BadLine: One is no message; none of them is to be obeyed.
    """
    try:
        return [_message_of(_object_of(line)) for line in lines if line]
    except RecursionError:
        raise BadLine("a line that is nested too deeply") from None


def encode(message: ExecutorMessage) -> bytes:
    """Write a message as a line, its end included. Fields that say nothing are left out."""
    if isinstance(message, Update):
        return f'{{"type":"UPDATE",{_update_fields(message)}}}\n'.encode()
    if isinstance(message, Subscribe):
        return (_subscribe_line(message) + "\n").encode()
    if isinstance(message, Said):
        return b'{"type":"MESSAGE","data":"' + b2a_base64(message.data, newline=False) + b'"}\n'
    if isinstance(message, Totals):
        sums = {name: value for name, value in message._asdict().items() if value}
        return (_dumps({"type": "TOTALS", **sums}) + "\n").encode()
    assert isinstance(message, Heartbeat), "the union is closed"
    return b'{"type":"HEARTBEAT"}\n'


# Writing. An update is put together by hand: it is most of what an executor says, and a dictionary and an encoder for each take
# three times as long.

_dumps: Final = json.JSONEncoder(separators=(",", ":")).encode
_quoted: Final[Callable[[str], str]] = json.encoder.encode_basestring_ascii


def _update_fields(update: Update) -> str:
    line = f'"task_id":{_quoted(update.task_id)},"state":"{update.state}","update_id":{_quoted(update.update_id)}'
    if update.timestamp_ms:
        line += f',"timestamp_ms":{update.timestamp_ms}'
    if update.message:
        line += f',"message":{_quoted(update.message)}'
    if update.reason is not None:
        line += f',"reason":"{update.reason}"'
    if update.data:
        line += f',"data":"{b2a_base64(update.data, newline=False).decode()}"'
    if update.healthy is not None:
        line += f',"healthy":{"true" if update.healthy else "false"}'
    return line


def _subscribe_line(message: Subscribe) -> str:
    # A version that is the default may be left out; it is said all the same, for whoever reads along.
    line = f'{{"type":"SUBSCRIBE","version":{message.version}'
    if message.unacknowledged_tasks:
        line += f',"unacknowledged_tasks":{_dumps(message.unacknowledged_tasks)}'
    if message.unacknowledged_updates:
        updates = ",".join(f"{{{_update_fields(update)}}}" for update in message.unacknowledged_updates)
        line += f',"unacknowledged_updates":[{updates}]'
    return line + "}"


def quoted_length(text: str) -> int:
    """Return how many bytes a text takes in a line."""
    return len(_quoted(text))


# Reading.


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number in JSON")


#: Python's own would take NaN and Infinity, with which nothing can be compared.
_DECODER: Final = json.JSONDecoder(parse_constant=_no_number)
_decode: Final = _DECODER.raw_decode


def _object_of(line: bytes) -> Fields:
    """Read one object, without the layers of `json.loads` around the decoder: they take as long as it does."""
    try:
        text = line.decode()
        value, end = _decode(text)
        if end != len(text):
            value = _DECODER.decode(text)  # white space after it, or a second value
    except ValueError as error:
        raise BadLine(f"not one JSON object: {error}: {_shown(line)}") from None
    if not isinstance(value, dict):
        raise BadLine(f"not a JSON object: {_shown(line)}")
    return value


def _shown(line: bytes) -> str:
    text = line[:SHOWN_CHARACTERS].decode(errors="replace")
    return repr(text + ("…" if len(line) > SHOWN_CHARACTERS else ""))


def _message_of(fields: Fields) -> AgentMessage:
    kind = fields.get("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        known = ", ".join(_READERS)
        raise BadLine(
            f"a message of the kind {kind!r}, which is none of {known}: is the agent newer than this executor?"
        )
    return read(fields)


def _task(value: object) -> Task:
    if not isinstance(value, dict):
        raise BadLine(f"a task that is no object: {value!r:.{SHOWN_CHARACTERS}}")
    fields: Fields = value
    return Task(
        _text(fields, "task_id"),
        _text(fields, "name", ""),
        _scalars(fields.get("resources")),
        _ranges(fields.get("ranges")),
        _whole(fields, "kill_grace_ms", 3000),
        _labels(fields.get("labels")),
        _bytes(fields),
    )


def _launch_group(fields: Fields) -> LaunchGroup:
    tasks = fields.get("tasks")
    if not isinstance(tasks, list):
        raise BadLine("a LAUNCH_GROUP without a list of tasks")
    return LaunchGroup(tuple(_task(each) for each in tasks))


def _subscribed(fields: Fields) -> Subscribed:
    return Subscribed(
        _whole(fields, "version"),
        _text(fields, "framework_id"),
        _text(fields, "executor_id"),
        _text(fields, "agent_id"),
        _text(fields, "container_id"),
        _text(fields, "hostname", ""),
        _number(fields, "cpus", 0.0),
        _whole(fields, "mem_mib", 0),
        _bytes(fields),
    )


_READERS: Final[Mapping[str, Callable[[Fields], AgentMessage]]] = {
    "SUBSCRIBED": _subscribed,
    "LAUNCH": lambda fields: Launch(_task(fields.get("task"))),
    "LAUNCH_GROUP": _launch_group,
    "KILL": lambda fields: Kill(_text(fields, "task_id"), _whole(fields, "grace_ms")),
    "ACKNOWLEDGED": lambda fields: Acknowledged(_text(fields, "task_id"), _text(fields, "update_id")),
    "RESIZED": lambda fields: Resized(_number(fields, "cpus"), _whole(fields, "mem_mib")),
    "MESSAGE": lambda fields: Heard(_bytes(fields, required=True)),
    "SHUTDOWN": lambda fields: Shutdown(_whole(fields, "grace_ms")),
    "ERROR": lambda fields: Error(_text(fields, "message")),
}


def _wrong(name: str, value: object, wanted: str) -> BadLine:
    return BadLine(f"the field {name!r} is {value!r:.{SHOWN_CHARACTERS}} where {wanted} should be")


def _text(fields: Fields, name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise _wrong(name, value, "a text")
    return value


def _whole(fields: Fields, name: str, default: int | None = None) -> int:
    value = fields.get(name, default)
    if type(value) is not int:  # a bool is an int to isinstance
        raise _wrong(name, value, "a whole number")
    return value


def _is_number(value: object) -> TypeGuard[int | float]:
    return type(value) is float or type(value) is int


def _number(fields: Fields, name: str, default: float | None = None) -> float:
    value = fields.get(name, default)
    if not _is_number(value):
        raise _wrong(name, value, "a number")
    return _as_float(name, value)


def _as_float(name: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise _wrong(name, "a number of many digits", "one that fits a double") from None


def _bytes(fields: Fields, *, required: bool = False) -> bytes:
    value = fields.get("data", None if required else "")
    if not isinstance(value, str):
        raise _wrong("data", value, "base64")
    try:
        return b64decode(value, validate=True) if value else b""
    except ValueError:  # binascii's own among them
        raise _wrong("data", value, "base64") from None


def _scalars(value: object) -> Mapping[str, float]:
    if value is None:
        return NO_SCALARS
    pairs = _pairs("resources", value)
    if not all(_is_number(each) for each in pairs.values()):
        raise _wrong("resources", value, "numbers by name")
    return {name: _as_float("resources", each) for name, each in pairs.items()}


def _labels(value: object) -> Mapping[str, str]:
    if value is None:
        return NO_LABELS
    pairs = _pairs("labels", value)
    if not all(isinstance(each, str) for each in pairs.values()):
        raise _wrong("labels", value, "texts by name")
    return pairs


def _ranges(value: object) -> Mapping[str, tuple[tuple[int, int], ...]]:
    if value is None:
        return NO_RANGES
    pairs = _pairs("ranges", value)
    return {name: tuple(_range(each) for each in _items(spans)) for name, spans in pairs.items()}


def _range(value: object) -> tuple[int, int]:
    match value:
        case [int() as begin, int() as end]:
            return (begin, end)
        case _:
            raise _wrong("ranges", value, "a pair of whole numbers")


def _items(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _wrong("ranges", value, "a list of pairs")
    return value


def _pairs(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(name, value, "an object")
    return value
