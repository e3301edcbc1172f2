"""The executor driver's codec and the agent's types are two descriptions of one protocol: what one end writes the other reads.

The driver's half has the standard library only, so it cannot use the agent's types; these tests are what keeps them the same.
"""

import enum
import json
from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesolite.executors.driver import codec, protocol
from mesolite.executors.driver.codec import BadLine, decode_lines, encode
from mesolite.executors.driver.outbox import line_bytes
from mesolite.executors.driver.states import ENDS, Reason, State
from mesolite.protocol import TERMINAL_STATES, executor
from mesolite.protocol import Reason as KernelReason
from mesolite.protocol.executor import ExecutorCall, ExecutorEvent

#: The driver's name of each message, and the kernel's.
EVENTS: Final[Mapping[type[Any], type[msgspec.Struct]]] = {
    protocol.Subscribed: executor.ExecutorSubscribed,
    protocol.Launch: executor.ExecutorLaunch,
    protocol.LaunchGroup: executor.ExecutorLaunchGroup,
    protocol.Kill: executor.ExecutorKill,
    protocol.Acknowledged: executor.ExecutorAcknowledged,
    protocol.Resized: executor.ExecutorResized,
    protocol.Heard: executor.ExecutorHeard,
    protocol.Shutdown: executor.ExecutorShutdown,
    protocol.Error: executor.ExecutorError,
}
CALLS: Final[Mapping[type[Any], type[msgspec.Struct]]] = {
    protocol.Subscribe: executor.ExecutorSubscribe,
    protocol.Update: executor.ExecutorUpdate,
    protocol.Said: executor.ExecutorSaid,
    protocol.Totals: executor.ExecutorTotals,
    protocol.Heartbeat: executor.ExecutorHeartbeat,
}
PAIRS: Final[Mapping[type[Any], type[msgspec.Struct]]] = {**EVENTS, **CALLS, protocol.Task: executor.ExecutorTask}

texts = st.text(max_size=40)
wholes = st.integers(min_value=0, max_value=2**53)
numbers = st.floats(min_value=0, max_value=1e9)
data = st.binary(max_size=200)

tasks = st.builds(
    executor.ExecutorTask,
    task_id=texts,
    name=texts,
    resources=st.dictionaries(texts, numbers, max_size=3),
    ranges=st.dictionaries(texts, st.lists(st.tuples(wholes, wholes), max_size=3).map(tuple), max_size=2),
    kill_grace_ms=wholes,
    labels=st.dictionaries(texts, texts, max_size=3),
    data=data,
)
events = st.one_of(
    st.builds(
        executor.ExecutorSubscribed,
        version=wholes,
        framework_id=texts,
        executor_id=texts,
        agent_id=texts,
        container_id=texts,
        hostname=texts,
        cpus=numbers,
        mem_mib=wholes,
        data=data,
    ),
    st.builds(executor.ExecutorLaunch, task=tasks),
    st.builds(executor.ExecutorLaunchGroup, tasks=st.lists(tasks, max_size=3).map(tuple)),
    st.builds(executor.ExecutorKill, task_id=texts, grace_ms=wholes),
    st.builds(executor.ExecutorAcknowledged, task_id=texts, update_id=texts),
    st.builds(executor.ExecutorResized, cpus=numbers, mem_mib=wholes),
    st.builds(executor.ExecutorHeard, data=data),
    st.builds(executor.ExecutorShutdown, grace_ms=wholes),
    st.builds(executor.ExecutorError, message=texts),
)
updates = st.builds(
    protocol.Update,
    task_id=texts,
    state=st.sampled_from(State),
    update_id=texts,
    timestamp_ms=wholes,
    message=texts,
    reason=st.none() | st.sampled_from(Reason),
    data=data,
    healthy=st.none() | st.booleans(),
)
calls = st.one_of(
    updates,
    st.builds(
        protocol.Subscribe,
        version=wholes,
        unacknowledged_tasks=st.lists(texts, max_size=4).map(tuple),
        unacknowledged_updates=st.lists(updates, max_size=3).map(tuple),
    ),
    st.builds(protocol.Said, data=data),
    st.builds(protocol.Totals, succeeded=wholes, failed=wholes, active=wholes),
    st.just(protocol.Heartbeat()),
)


def plain(value: Any) -> Any:
    """A message of either end as names and values, so that the two can be compared."""
    match value:
        case msgspec.Struct():
            return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        case enum.Enum():
            return value.value
        case Mapping():
            return {name: plain(each) for name, each in value.items()}
        case tuple() | list():
            names: tuple[str, ...] | None = getattr(value, "_fields", None)
            members = [plain(each) for each in value]
            return members if names is None else dict(zip(names, members, strict=True))
        case _:
            return value


@given(st.lists(events, max_size=5))
def test_what_an_agent_writes_an_executor_reads(messages: list[ExecutorEvent]) -> None:
    lines = [msgspec.json.encode(message) for message in messages]
    read = decode_lines(lines)
    assert [type(message) for message in read] == [ours_of(type(message)) for message in messages]
    assert [plain(message) for message in read] == [plain(message) for message in messages]


@given(calls)
def test_what_an_executor_writes_an_agent_reads(message: protocol.ExecutorMessage) -> None:
    line = encode(message)
    read = msgspec.json.decode(line, type=ExecutorCall)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert type(read) is CALLS[type(message)]
    assert plain(read) == plain(message)


@given(updates)
def test_no_update_takes_more_room_in_a_line_than_is_reckoned(update: protocol.Update) -> None:
    update = update._replace(update_id=str(2**63))
    assert len(encode(update)) <= line_bytes(update)


def ours_of(theirs: type[msgspec.Struct]) -> type[Any]:
    """The driver's class for one of the kernel's."""
    return next(ours for ours, other in EVENTS.items() if other is theirs)


def test_each_message_of_the_kernel_has_one_in_the_driver() -> None:
    assert set(EVENTS.values()) == set(get_args(ExecutorEvent))
    assert set(CALLS.values()) == set(get_args(ExecutorCall))
    assert set(EVENTS) == set(get_args(protocol.AgentMessage))
    assert set(CALLS) == set(get_args(protocol.ExecutorMessage))


@pytest.mark.parametrize("ours", PAIRS, ids=lambda ours: ours.__name__)
def test_the_fields_and_their_defaults_are_the_same(ours: type[Any]) -> None:
    fields = msgspec.structs.fields(PAIRS[ours])
    assert list(ours._fields) == [field.name for field in fields]
    defaults = {field.name: plain(default_of(field)) for field in fields if not field.required}
    assert {name: plain(value) for name, value in ours._field_defaults.items()} == defaults


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """What a field is where it is not said."""
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def test_words_and_limits_are_the_same() -> None:
    assert {str(state) for state in State} == {state.value for state in executor.REPORTABLE_STATES}
    assert {str(state) for state in ENDS} == {
        state.value for state in executor.REPORTABLE_STATES if state in TERMINAL_STATES
    }
    assert {str(reason) for reason in Reason} == {reason.value for reason in KernelReason}
    assert protocol.PROTOCOL_VERSION == executor.EXECUTOR_PROTOCOL_VERSION
    assert protocol.MAX_LINE_BYTES == executor.MAX_LINE_BYTES
    assert protocol.MAX_DATA_BYTES == executor.MAX_EXECUTOR_DATA_BYTES
    assert protocol.MAX_UPDATE_ID_LENGTH == executor.MAX_UPDATE_ID_LENGTH


@given(events, st.dictionaries(texts.map("new_{}".format), st.none() | texts | wholes, max_size=3))
def test_fields_that_are_new_are_passed_over(message: ExecutorEvent, new: dict[str, Any]) -> None:
    line = json.dumps({**msgspec.to_builtins(message), **new}).encode()
    assert decode_lines([line]) == decode_lines([msgspec.json.encode(message)])


@given(
    st.binary(max_size=60) | st.recursive(st.none() | texts | wholes, st.lists).map(lambda it: json.dumps(it).encode())
)
def test_what_is_no_message_is_a_bad_line_and_nothing_else(line: bytes) -> None:
    line = line.replace(b"\n", b" ")
    if line:
        with pytest.raises(BadLine):
            decode_lines([line])


kinds = st.sampled_from([*(each.__struct_config__.tag for each in EVENTS.values()), "HELLO", 7, None])
names = st.sampled_from(sorted({name for each in EVENTS for name in each._fields}))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | names, inner, max_size=3),
    max_leaves=8,
)


@given(kinds, st.dictionaries(names, anything, max_size=8))
def test_a_message_with_fields_of_any_type_is_read_as_the_agents_end_would_or_is_a_bad_line(
    kind: object, fields: dict[str, Any]
) -> None:
    """Goal: neither crashes, nor lets pass what is of another type. Method: what passes must be writable by the agent's types."""
    try:
        [message] = decode_lines([json.dumps({**fields, "type": kind}).encode()])
    except BadLine:
        return
    theirs = EVENTS[type(message)]
    assert plain(msgspec.convert(plain(message), type=theirs)) == plain(message)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"GET / HTTP/1.1", "not one JSON object"),
        (b'{"type":"KILL","task_id":"t","grace_ms":1} {}', "not one JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"type":"DANCE"}', "is the agent newer than this executor"),
        (b'{"type":"KILL","task_id":"t"}', "'grace_ms' is None where a whole number should be"),
        (b'{"type":"KILL","task_id":"t","grace_ms":true}', "'grace_ms' is True where a whole number"),
        (b'{"type":"RESIZED","cpus":NaN,"mem_mib":1}', "NaN is no number in JSON"),
        (b'{"type":"MESSAGE","data":"%%%"}', "where base64 should be"),
        (b'{"type":"MESSAGE"}', "where base64 should be"),
        (b'{"type":"LAUNCH"}', "a task that is no object"),
        (b'{"type":"LAUNCH_GROUP"}', "without a list of tasks"),
        (b'{"type":"LAUNCH","task":{"task_id":"t","ranges":{"ports":[[1]]}}}', "a pair of whole numbers"),
        (b'{"type":"LAUNCH","task":{"task_id":"t","labels":{"a":1}}}', "texts by name"),
        (b'{"type":"RESIZED","cpus":1' + b"0" * 400 + b',"mem_mib":1}', "fits a double"),
    ],
)
def test_a_bad_line_says_what_is_wrong_with_it(line: bytes, complaint: str) -> None:
    with pytest.raises(BadLine, match=complaint):
        decode_lines([line])


def test_what_is_shown_of_a_bad_line_is_short() -> None:
    with pytest.raises(BadLine) as caught:
        decode_lines([b'{"type":"KILL","task_id":"t","grace_ms":"' + b"y" * 100_000 + b'"}'])
    assert len(str(caught.value)) < 2 * codec.SHOWN_CHARACTERS
