"""The codec: what goes in comes out, and nothing that a peer can send does more harm than a ProtocolError."""

import enum
import struct
import types
import typing
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesolite import protocol
from mesolite.errors import ProtocolError
from mesolite.ids import AgentId, ExecutorId, FrameworkId, SessionId, TaskId
from mesolite.protocol import (
    MAX_MALFORMED_BYTES,
    MAX_PAYLOAD_BYTES,
    PROTOCOL_VERSION,
    Call,
    CallBatch,
    Command,
    CommandBatch,
    Event,
    EventBatch,
    Heartbeat,
    Kill,
    Message,
    Report,
    ReportBatch,
    decode_calls,
    decode_commands,
    decode_events,
    decode_reports,
    encode,
)
from mesolite.protocol.codec import MAX_REASON_LENGTH, MAX_SIFTED_MESSAGES

Batch: TypeAlias = CallBatch | EventBatch | CommandBatch | ReportBatch

#: A hundred drawn messages of each kind take tenths of a second; no deadline, for the machine is shared.
fast = settings(max_examples=100)

pack = msgspec.msgpack.encode


def call_batch(*calls: Call) -> CallBatch:
    return CallBatch(framework_id=FrameworkId("f"), session=SessionId("s"), epoch=3, number=1, calls=calls)


def report_batch(*reports: Report) -> ReportBatch:
    return ReportBatch(
        agent_id=AgentId("a"), session=SessionId("s"), number=1, epoch=3, confirmed=4, gap=True, reports=reports
    )


def event_batch(*events: Event) -> EventBatch:
    return EventBatch(session=SessionId("s"), epoch=3, number=1, events=events)


def command_batch(*commands: Command) -> CommandBatch:
    return CommandBatch(agent_id=AgentId("a"), session=SessionId("s"), epoch=3, first_number=1, commands=commands)


def decoded_calls(payload: bytes) -> CallBatch:
    batch, refused = decode_calls(payload)
    assert not refused
    return batch


def decoded_reports(payload: bytes) -> ReportBatch:
    batch, refused = decode_reports(payload)
    assert not refused
    return batch


def kinds(union: Any) -> list[type[msgspec.Struct]]:
    return list(typing.get_args(union))


def drawn(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that messages are made of."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType):
        return drawn(hint.__supertype__)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of([drawn(argument) for argument in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(drawn(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(drawn, arguments))
    if origin is dict:
        return st.dictionaries(drawn(arguments[0]), drawn(arguments[1]), max_size=2)
    if hint is int:
        return st.integers(-(2**63), 2**64 - 1)
    if hint is float:
        return st.floats(allow_nan=False)
    if hint is str:
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    if hint is bytes:
        return st.binary(max_size=8)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return st.deferred(lambda: st.builds(hint, **{name: drawn(of) for name, of in fields(hint)}))
    assert hint in {bool, type(None)}, f"no strategy for {hint}: add one"
    return st.booleans() if hint is bool else st.none()


def fields(kind: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    return list(typing.get_type_hints(kind).items())


DIRECTIONS: list[tuple[Any, Callable[..., Batch], Callable[[bytes], Batch]]] = [
    (Call, call_batch, decoded_calls),
    (Report, report_batch, decoded_reports),
    (Event, event_batch, decode_events),
    (Command, command_batch, decode_commands),
]
EVERY_KIND = [
    pytest.param(kind, batch, decode, id=f"{batch.__name__}-{kind.__name__}")
    for union, batch, decode in DIRECTIONS
    for kind in kinds(union)
]
DECODERS: list[Callable[[bytes], object]] = [decode_calls, decode_reports, decode_events, decode_commands]


def raw_batch(calls: bytes, **more: bytes) -> bytes:
    """A call batch of which one part is written by hand."""
    parts = {
        "framework_id": pack("f"),
        "session": pack("s"),
        "epoch": pack(3),
        "number": pack(1),
        "calls": calls,
        **more,
    }
    return bytes([0x80 + len(parts)]) + b"".join(pack(name) + part for name, part in parts.items())


@pytest.mark.parametrize(("kind", "batch", "decode"), EVERY_KIND)
def test_every_kind_of_message_goes_there_and_back(
    kind: type[msgspec.Struct], batch: Callable[..., Batch], decode: Callable[[bytes], Batch]
) -> None:
    @fast
    @given(drawn(kind))
    def there_and_back(message: msgspec.Struct) -> None:
        sent = batch(message)
        assert decode(encode(sent)) == sent

    there_and_back()


@pytest.mark.parametrize(("union", "batch", "decode"), DIRECTIONS)
def test_kinds_have_names_of_their_own_and_batches_may_be_empty(
    union: Any, batch: Callable[..., Batch], decode: Callable[[bytes], Batch]
) -> None:
    tags = [kind.__struct_config__.tag for kind in kinds(union)]
    assert len(set(tags)) == len(tags)
    assert None not in tags
    assert decode(encode(batch())) == batch()


def test_unknown_fields_are_ignored() -> None:
    newer_call = {"type": "KILL", "task_id": "t", "agent_id": None, "not_yet_known": {"a": [1, 2]}}
    payload = raw_batch(pack([newer_call]), also_unknown=pack(["x"]))
    assert decoded_calls(payload) == call_batch(Kill(task_id=TaskId("t")))


def test_one_bad_call_does_not_take_its_neighbours() -> None:
    good = Kill(task_id=TaskId("t"))
    bad: list[object] = [
        {"type": "KILL"},
        {"type": "KILL", "task_id": 1},
        {"type": "DO_WHAT_I_MEAN"},
        {"task_id": "t"},
        None,
        [],
        17,
    ]
    payload = raw_batch(pack([good, *bad, good]))
    batch, refused = decode_calls(payload)
    assert batch == call_batch(good, good)
    assert [each.payload for each in refused] == [pack(each) for each in bad]
    assert "Invalid value 'DO_WHAT_I_MEAN'" in refused[2].reason


def test_one_bad_report_does_not_take_its_neighbours() -> None:
    good = protocol.UnregisterAgent()
    sent = report_batch(good, protocol.AgentHeartbeat())
    payload = encode(sent).replace(pack("HEARTBEAT"), pack("HEARTBURN"))
    batch, refused = decode_reports(payload)
    assert batch == report_batch(good)
    assert len(refused) == 1


@pytest.mark.parametrize("decode", [decode_events, decode_commands])
def test_what_the_master_sends_is_refused_whole(decode: Callable[[bytes], object]) -> None:
    bad = pack([{"type": "HEARTBURN"}])
    sent = encode(event_batch()) if decode is decode_events else encode(command_batch())
    assert decode(sent) in (event_batch(), command_batch())
    with pytest.raises(ProtocolError, match="Invalid value 'HEARTBURN'"):
        decode(sent.replace(pack([]), bad))


def test_what_is_kept_of_a_malformed_message_is_bounded() -> None:
    _, refused = decode_calls(raw_batch(pack([{"type": "X" * 100_000}])))
    assert len(refused[0].payload) == MAX_MALFORMED_BYTES
    assert len(refused[0].reason) == MAX_REASON_LENGTH
    with pytest.raises(ProtocolError) as caught:
        decode_events(encode(event_batch()).replace(pack([]), pack([{"type": "X" * 100_000}])))
    assert len(str(caught.value)) == MAX_REASON_LENGTH


def test_a_batch_with_malformed_messages_is_sifted_up_to_a_limit() -> None:
    def nils(count: int) -> bytes:
        return raw_batch(b"\xdd" + struct.pack(">I", count) + b"\xc0" * count)

    assert len(decode_calls(nils(MAX_SIFTED_MESSAGES))[1]) == MAX_SIFTED_MESSAGES
    with pytest.raises(ProtocolError, match="length <= 65536"):
        decode_calls(nils(MAX_SIFTED_MESSAGES + 1))
    many = call_batch(*[Heartbeat()] * (MAX_SIFTED_MESSAGES + 1))
    assert decoded_calls(encode(many)) == many


@pytest.mark.parametrize(("union", "batch", "decode"), DIRECTIONS)
def test_another_version_is_refused_with_both_numbers(
    union: Any, batch: Callable[..., Batch], decode: Callable[[bytes], Batch]
) -> None:
    newer = msgspec.structs.replace(batch(), version=PROTOCOL_VERSION + 1)
    with pytest.raises(ProtocolError, match="the peer speaks version 2, this side 1; run one version"):
        decode(encode(newer))


@pytest.mark.parametrize("missing", ["framework_id", "session", "epoch", "number", "calls"])
def test_an_incomplete_envelope_is_refused_by_name(missing: str) -> None:
    envelope: dict[str, object] = {"framework_id": "f", "session": "s", "epoch": 1, "number": 1, "calls": []}
    assert decoded_calls(pack(envelope)).epoch == 1
    del envelope[missing]
    with pytest.raises(ProtocolError, match=missing):
        decode_calls(pack(envelope))


def test_batches_over_the_limit_are_neither_sent_nor_read() -> None:
    def message(size: int) -> CallBatch:
        return call_batch(Message(agent_id=AgentId("a"), executor_id=ExecutorId("e"), data=bytes(size)))

    overhead = len(encode(message(70_000))) - 70_000
    largest = message(MAX_PAYLOAD_BYTES - overhead)
    assert decoded_calls(encode(largest)) == largest
    with pytest.raises(ProtocolError, match="send fewer or smaller messages"):
        encode(message(MAX_PAYLOAD_BYTES - overhead + 1))
    for decode in DECODERS:
        with pytest.raises(ProtocolError, match="over the limit"):
            decode(bytes(MAX_PAYLOAD_BYTES + 1))


#: Each claims 4 Gi elements or bytes, or nests 200,000 deep.
HOSTILE = {
    "array": b"\xdd\xff\xff\xff\xff",
    "map": b"\xdf\xff\xff\xff\xff",
    "text": b"\xdb\xff\xff\xff\xff",
    "binary": b"\xc6\xff\xff\xff\xff",
    "extension": b"\xc9\xff\xff\xff\xff\x01",
    "deep arrays": b"\x91" * 200_000 + b"\xc0",
    "deep maps": b"\x81\xa1a" * 200_000 + b"\xc0",
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("decode", DECODERS)
def test_false_lengths_and_deep_nesting_are_refused(decode: Callable[[bytes], object], hostile: bytes) -> None:
    call = b"\x82" + pack("type") + pack("REVIVE") + pack("roles") + hostile
    unknown_field = b"\x82" + pack("type") + pack("REVIVE") + pack("unknown") + hostile
    for payload in (
        hostile,
        raw_batch(hostile),
        raw_batch(b"\x91" + call),
        raw_batch(b"\x91" + unknown_field),
        raw_batch(pack([]), unknown=hostile),
    ):
        with pytest.raises(ProtocolError):
            decode(payload)


def only_protocol_errors(payload: bytes) -> int:
    """Decode with everything; any other exception passes through and fails the test. Returns how often it was refused."""
    refused = 0
    for decode in DECODERS:
        try:
            decode(payload)
        except ProtocolError:
            refused += 1
    return refused


@fast
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(payload: bytes) -> None:
    assert only_protocol_errors(payload) == len(DECODERS)


#: Values of MessagePack that are no messages, but look a little like them.
names = st.sampled_from(
    ["type", "calls", "events", "commands", "reports", "version", "session", "epoch", "number", "framework_id", "KILL"]
)
looks_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | names | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
    max_leaves=12,
)


@fast
@given(looks_like)
def test_sound_encodings_of_nonsense_are_refused(nonsense: Any) -> None:
    assert only_protocol_errors(pack(nonsense)) == len(DECODERS)
    assert decode_calls(raw_batch(pack([nonsense])))[1]


@settings(fast, max_examples=40)
@given(st.data())
def test_damaged_batches_raise_nothing_else(data: st.DataObject) -> None:
    union, batch, _ = data.draw(st.sampled_from(DIRECTIONS))
    payload = bytearray(encode(batch(data.draw(drawn(union)))))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(payload[: data.draw(st.integers(0, len(payload)))])
    assert only_protocol_errors(cut) >= len(DECODERS) - 1
    assert only_protocol_errors(bytes(payload)) >= len(DECODERS) - 1
