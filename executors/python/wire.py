"""What a client and its executors write to one another over the pool's streams (docs/executors.md, section 4).

An entry is an envelope around a body; both are plain pickles (protocol 5): tuples of numbers, texts and bytes, nothing else.
They are read by an unpickler that finds no class, so that an entry can be wrong but cannot do anything. The envelope says who
speaks to whom and carries the numbering (`link`); the body is a tuple of items, each a tuple that begins with its kind. A body is
read only once its envelope is known to be news.

    envelope  (VERSION, sender, receiver, number, confirmed, asks, body)
    body      pickle of ((kind, ...), (kind, ...), ...)

The order of an item's fields and the numbers of kinds travel: they are changed only together with VERSION. An item may get more
fields at its end; readers ignore what they do not know. Nothing an entry holds is trusted: whatever is not as it should be raises
`BadEntry`, which costs that entry alone.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias, TypeGuard, TypeVar, assert_never

from .calls import End, Outcome, Payload
from .codec import MAX_MESSAGE_LENGTH, BadBytes, dumps, loads, pack_payload, unpack_payload

#: Raised when an entry changes its meaning.
VERSION: Final = 1
#: The largest entry. A call with its arguments is never cut: so this bounds what travels inline.
MAX_ENTRY_BYTES: Final = 33 * 1024 * 1024
#: Bodies are cut into entries of about this size: enough that what each entry costs by itself is little beside its items.
GOOD_BODY_BYTES: Final = 256 * 1024
#: The most items of one body, for the same reason, and so that the first of them need not wait for the last.
MAX_ITEMS: Final = 1024
#: The most that arguments, a function or a result may have inline. Larger ones go through the block store.
MAX_INLINE_BYTES: Final = 32 * 1024 * 1024
#: What an item costs in an entry beside its payload, roughly.
ITEM_BYTES: Final = 32

#: The field of a stream's entry.
FIELD: Final = "p"

_SHORT_TEXT: Final = 1024


class BadEntry(Exception):
    """An entry that is not one of this version; says what is wrong with it."""


# What a client says.


class Define(NamedTuple):
    """From here on `function_id` means this function; a client numbers its functions for each executor."""

    function_id: int
    digest: bytes
    pickled: Payload


class Options(NamedTuple):
    """What is not the same for all calls (`calls.Call`)."""

    #: Of its log (log_names.py); the newest call of a name has it. Empty: its number.
    name: str = ""
    timeout_ms: int | None = None
    mem_bytes: int | None = None
    by_reference_from: int | None = None
    environment: tuple[tuple[str, str], ...] = ()


class Run(NamedTuple):
    """Run this call. Its number is new in the client's session."""

    number: int
    function_id: int
    arguments: Payload
    options: Options | None = None


class Cancel(NamedTuple):
    """End a call that has not begun; with `kill` any."""

    number: int
    kill: bool


class Attach(NamedTuple):
    """The call that had this name (`Options.name`) in an earlier session is this number from here on, if it is known."""

    number: int
    name: str


ClientItem: TypeAlias = Define | Run | Cancel | Attach


# What an executor says.


class Hello(NamedTuple):
    """Who it is. Outside the numbering: said until a client speaks to it, and whenever one asks."""

    executor_id: str
    agent_id: str
    container_id: str
    #: "3.11"
    python: str
    workers: int
    #: Where clients put large arguments, over HTTP, and what they show there; empty where the agent serves none to them.
    blocks_url: str = ""
    blocks_token: str = ""
    #: See `Earlier`.
    earlier: int = 0


class Returned(NamedTuple):
    """A call returned: the end of most, so said in few bytes."""

    number: int
    payload: Payload
    ran_us: int


class Ended(NamedTuple):
    """A call ended in any way."""

    number: int
    outcome: Outcome


class Begun(NamedTuple):
    """A worker has this call, and it is not known to be a short one."""

    number: int


class Workers(NamedTuple):
    """There are so many workers now."""

    workers: int


class Earlier(NamedTuple):
    """So many calls of earlier sessions run on, to which nobody is attached."""

    calls: int


class Unknown(NamedTuple):
    """A call that was to be attached neither runs here nor is its end remembered."""

    number: int
    #: Nor did it begin here: whatever ended and is forgotten, the client of that time had heard of it long before it was over.
    certain: bool


ExecutorItem: TypeAlias = Hello | Returned | Ended | Begun | Workers | Earlier | Unknown
Item: TypeAlias = ClientItem | ExecutorItem
ItemT = TypeVar("ItemT", bound=Item)


class Envelope(NamedTuple):
    """What is around a body."""

    #: The session that speaks: a client's life or an executor's (its container id).
    sender: str
    #: The session that is spoken to; empty: whoever reads, where the sender cannot know yet.
    receiver: str
    #: Of this entry between the two sessions, from 1; 0 for one outside the numbering, which may get lost.
    number: int
    #: The sender has taken all of the receiver's entries up to here.
    confirmed: int
    #: And lacks those behind, though it knows that there are some: say them again.
    asks: bool
    #: Empty where only the envelope has something to say.
    body: bytes


# The numbers of kinds: 1 to 31 a client's, from 32 an executor's.
_DEFINE: Final = 1
_RUN: Final = 2
_CANCEL: Final = 3
_ATTACH: Final = 4
_HELLO: Final = 32
_RETURNED: Final = 33
_ENDED: Final = 34
_BEGUN: Final = 35
_WORKERS: Final = 36
_EARLIER: Final = 37
_UNKNOWN: Final = 38


def encode_envelope(envelope: Envelope) -> bytes:
    """Return an entry's bytes."""
    return dumps((VERSION, *envelope))


def decode_envelope(entry: bytes) -> Envelope:
    """Read an entry, but for its body.

    Raises:
        BadEntry: It is none.
    """
    whole = _plain(entry)
    if type(whole) is not tuple or len(whole) < 1:
        raise BadEntry("not an envelope")
    if whole[0] != VERSION:
        raise BadEntry(f"of version {whole[0]!r:.32}, but this is version {VERSION}: install the same on both sides")
    if len(whole) < 7:
        raise BadEntry("an envelope that is cut off")
    _, sender, receiver, number, confirmed, asks, body = whole[:7]
    if not (_is_short(sender) and _is_short(receiver) and sender):
        raise BadEntry("an envelope whose sender or receiver is no session")
    if not (_is_count(number) and _is_count(confirmed) and type(asks) is bool and type(body) is bytes):
        raise BadEntry("an envelope whose numbering cannot be read")
    return Envelope(sender, receiver, number, confirmed, asks, body)


def encode_body(items: Sequence[Item]) -> bytes:
    """Return the bytes of a body."""
    return dumps(tuple([_fields_of(item) for item in items]))


def cut_body(items: deque[ItemT]) -> list[ItemT]:
    """Take as many items off the left as go into one body, at least one."""
    taken: list[ItemT] = []
    size_bytes = 0
    while items and len(taken) < MAX_ITEMS and size_bytes < GOOD_BODY_BYTES:
        item = items[0]
        own_bytes = item_bytes(item)
        if taken and size_bytes + own_bytes > 2 * GOOD_BODY_BYTES:
            break
        taken.append(items.popleft())
        size_bytes += own_bytes
    return taken


def item_bytes(item: Item) -> int:
    """Return about how much an item adds to a body."""
    if type(item) is Run:
        return ITEM_BYTES + payload_bytes(item.arguments)
    if type(item) is Returned:
        return ITEM_BYTES + payload_bytes(item.payload)
    if type(item) is Ended:
        return 3 * ITEM_BYTES + payload_bytes(item.outcome.payload) + len(item.outcome.message)
    if type(item) is Define:
        return 2 * ITEM_BYTES + payload_bytes(item.pickled)
    return 4 * ITEM_BYTES


def payload_bytes(payload: Payload) -> int:
    """Return how much of an entry a payload takes: a reference little."""
    return len(payload) if isinstance(payload, bytes) else 4 * ITEM_BYTES


def decode_client_body(body: bytes) -> list[ClientItem]:
    """Read what a client says.

    Raises:
        BadEntry: It is nothing that a client says.
    """
    return [_client_item(fields) for fields in _items(body)]


def decode_executor_body(body: bytes) -> list[ExecutorItem]:
    """Read what an executor says.

    Raises:
        BadEntry: It is nothing that an executor says.
    """
    return [_executor_item(fields) for fields in _items(body)]


def _fields_of(item: Item) -> tuple[object, ...]:
    """An item as it travels."""
    match item:
        case Run(number, function_id, arguments, options):
            return (_RUN, number, function_id, pack_payload(arguments), None if options is None else tuple(options))
        case Returned(number, payload, ran_us):
            return (_RETURNED, number, pack_payload(payload), ran_us)
        case Begun(number):
            return (_BEGUN, number)
        case Ended(number, outcome):
            return _fields_of_end(number, outcome)
        case Define(function_id, digest, pickled):
            return (_DEFINE, function_id, digest, pack_payload(pickled))
        case Cancel(number, kill):
            return (_CANCEL, number, kill)
        case Workers(workers):
            return (_WORKERS, workers)
        case Attach(number, name):
            return (_ATTACH, number, name)
        case Earlier(calls):
            return (_EARLIER, calls)
        case Unknown(number, certain):
            return (_UNKNOWN, number, certain)
        case Hello():
            return (_HELLO, *item)
        case _:
            assert_never(item)


def _fields_of_end(number: int, outcome: Outcome) -> tuple[object, ...]:
    message = outcome.message[:MAX_MESSAGE_LENGTH]
    measures = (outcome.ran_us, outcome.limit_bytes, outcome.peak_bytes)
    return (_ENDED, number, int(outcome.end), pack_payload(outcome.payload), message, outcome.begun, *measures)


def _plain(data: bytes) -> object:
    if len(data) > MAX_ENTRY_BYTES:
        raise BadEntry(f"{len(data)} bytes; the most is {MAX_ENTRY_BYTES}")
    try:
        return loads(data)
    except BadBytes as error:
        raise BadEntry(str(error)[:_SHORT_TEXT]) from error


def _items(body: bytes) -> list[tuple[object, ...]]:
    items = _plain(body)
    if type(items) is not tuple or len(items) > MAX_ITEMS:
        raise BadEntry("a body that is no tuple of items")
    for item in items:
        if type(item) is not tuple or not item:
            raise BadEntry("an item that is none")
    return list(items)


# From fields to items. Each looks at every field that it uses.


def _client_item(fields: tuple[object, ...]) -> ClientItem:
    kind = fields[0]
    if kind == _RUN and len(fields) >= 5:
        _, number, function_id, arguments, options = fields[:5]
        if type(number) is int and type(function_id) is int:
            return Run(number, function_id, _payload(arguments), None if options is None else _options(options))
    elif kind == _DEFINE and len(fields) >= 4:
        _, function_id, digest, pickled = fields[:4]
        if type(function_id) is int and type(digest) is bytes and len(digest) <= _SHORT_TEXT:
            return Define(function_id, digest, _payload(pickled))
    elif kind == _CANCEL and len(fields) >= 3:
        _, number, kill = fields[:3]
        if type(number) is int and type(kill) is bool:
            return Cancel(number, kill)
    elif kind == _ATTACH and len(fields) >= 3:
        _, number, name = fields[:3]
        if type(number) is int and _is_short(name):
            return Attach(number, name)
    raise BadEntry(f"an item of kind {kind!r:.32} that no client of this version says")


def _executor_item(fields: tuple[object, ...]) -> ExecutorItem:
    kind = fields[0]
    if kind == _RETURNED and len(fields) >= 4:
        _, number, payload, ran_us = fields[:4]
        if type(number) is int and type(ran_us) is int:
            return Returned(number, payload if type(payload) is bytes else _payload(payload), ran_us)
    elif kind == _BEGUN and len(fields) >= 2:
        number = fields[1]
        if type(number) is int:
            return Begun(number)
    elif kind == _WORKERS and len(fields) >= 2:
        workers = fields[1]
        if type(workers) is int and workers >= 0:
            return Workers(workers)
    elif kind == _ENDED and len(fields) >= 9:
        return _ended(fields)
    elif kind == _HELLO and len(fields) >= 8:
        return _hello(fields)
    elif kind == _EARLIER and len(fields) >= 2:
        calls = fields[1]
        if type(calls) is int and calls >= 0:
            return Earlier(calls)
    elif kind == _UNKNOWN and len(fields) >= 3:
        _, number, certain = fields[:3]
        if type(number) is int and type(certain) is bool:
            return Unknown(number, certain)
    raise BadEntry(f"an item of kind {kind!r:.32} that no executor of this version says")


def _hello(fields: tuple[object, ...]) -> Hello:
    texts = [text for text in (*fields[1:5], *fields[6:8]) if type(text) is str and len(text) <= _SHORT_TEXT]
    workers, earlier = fields[5], fields[8] if len(fields) > 8 else 0
    if len(texts) != 6 or not (type(workers) is int and workers >= 0 and type(earlier) is int and earlier >= 0):
        raise BadEntry("a hello that cannot be read")
    executor_id, agent_id, container_id, python, url, token = texts
    return Hello(executor_id, agent_id, container_id, python, workers, url, token, earlier)


def _ended(fields: tuple[object, ...]) -> Ended:
    _, number, end, payload, message, begun, ran_us, limit_bytes, peak_bytes = fields[:9]
    if type(message) is not str or type(begun) is not bool or type(end) is not int or type(number) is not int:
        raise BadEntry("an end that cannot be read")
    if not (_is_count(ran_us) and _is_count(limit_bytes) and _is_count(peak_bytes)):
        raise BadEntry("an end whose measures are no numbers")
    try:
        known_end = End(end)
    except ValueError:
        raise BadEntry(f"an end {end} that is not known here") from None
    outcome = Outcome(known_end, _payload(payload), message, begun, ran_us, limit_bytes, peak_bytes)
    return Ended(number, outcome)


def _payload(payload: object) -> Payload:
    if type(payload) is bytes:
        return payload
    try:
        return unpack_payload(payload)
    except BadBytes as error:
        raise BadEntry(str(error)) from error


def _options(fields: object) -> Options:
    if type(fields) is not tuple or len(fields) < 5:
        raise BadEntry("options that are none")
    name, timeout_ms, mem_bytes, by_reference_from, environment = fields[:5]
    if not (
        _is_short(name) and all(each is None or _is_count(each) for each in (timeout_ms, mem_bytes, by_reference_from))
    ):
        raise BadEntry("options that cannot be read")
    if type(environment) is not tuple:
        raise BadEntry("an environment that is none")
    pairs: list[tuple[str, str]] = []
    for pair in environment:
        if type(pair) is not tuple or len(pair) != 2 or type(pair[0]) is not str or type(pair[1]) is not str:
            raise BadEntry("an environment with something else than texts")
        pairs.append((pair[0], pair[1]))
    return Options(name, timeout_ms, mem_bytes, by_reference_from, tuple(pairs))


def _is_short(text: object) -> TypeGuard[str]:
    return type(text) is str and len(text) <= _SHORT_TEXT


def _is_count(number: object) -> TypeGuard[int]:
    return type(number) is int and number >= 0
