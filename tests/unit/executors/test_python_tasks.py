"""What framework and Python executor write for each other is read as it was meant, and nothing else is read at all."""

import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesolite.executors.python.calls import BlockRef, End, Function, Outcome
from mesolite.executors.python.codec import (
    MAX_TRACEBACK_LENGTH,
    BadBytes,
    dumps,
    loads,
    pack_outcome,
    pack_raised,
    unpack_outcome,
    unpack_raised,
)
from mesolite.executors.python.settings import BadSettings, PythonSettings, settings_from
from mesolite.executors.python.tasks import (
    SLOT_DATA,
    STORE_DATA,
    CallTask,
    SlotTask,
    StoreTask,
    decode_outcome,
    decode_store,
    decode_task,
    encode_call,
    encode_outcome,
    encode_store,
    state_of,
)

FUNCTION = Function(b"d" * 16, b"pickled")

payloads = st.binary() | st.builds(
    BlockRef, st.text(min_size=1, max_size=40), st.integers(0, 2**60), st.text(max_size=40)
)
outcomes = st.builds(
    Outcome,
    end=st.sampled_from(End),
    payload=payloads,
    message=st.text(),
    begun=st.booleans(),
    ran_us=st.integers(0, 2**60),
    limit_bytes=st.integers(0, 2**60),
    peak_bytes=st.integers(0, 2**60),
)


@given(outcome=outcomes)
def test_an_outcome_is_read_as_it_was_written(outcome: Outcome) -> None:
    assert unpack_outcome(loads(dumps(pack_outcome(outcome)))) == outcome
    assert decode_outcome(encode_outcome(outcome)) == outcome


@given(
    payload=payloads, arguments=payloads, timeout_ms=st.none() | st.integers(0), mem_bytes=st.none() | st.integers(0)
)
def test_a_call_is_read_as_it_was_written(
    payload: bytes | BlockRef, arguments: bytes | BlockRef, timeout_ms: int | None, mem_bytes: int | None
) -> None:
    task = CallTask(
        function=Function(b"0" * 16, payload),
        arguments=arguments,
        timeout_ms=timeout_ms,
        mem_bytes=mem_bytes,
        environment={"LEVEL": "1"},
    )
    assert decode_task(encode_call(task)) == task


def test_a_slot_is_told_from_a_call() -> None:
    assert decode_task(SLOT_DATA) == SlotTask()


@given(data=st.binary())
def test_other_bytes_are_refused_and_never_break_the_reader(data: bytes) -> None:
    for read in (decode_task, decode_outcome):
        for prefix in (b"", b"C", b"O"):
            try:
                read(prefix + data)
            except BadBytes:
                continue


@pytest.mark.parametrize("harmful", [os.getcwd, OSError("x"), BlockRef("a", 1)])
def test_reading_runs_nothing_that_was_sent(harmful: object) -> None:
    with pytest.raises(BadBytes, match="does not belong here"):
        loads(pickle.dumps(harmful))


@pytest.mark.parametrize("environment", [{"": "x"}, {"A=B": "x"}, {"A": "nul\0"}, {1: "x"}, {"A": 1}])
def test_an_environment_that_no_system_takes_is_refused_before_a_worker_sees_it(environment: object) -> None:
    data = b"C" + dumps(((FUNCTION.digest, b"f"), b"a", None, None, 1, environment))
    with pytest.raises(BadBytes, match="environment"):
        decode_task(data)


def test_an_update_without_data_carries_no_outcome() -> None:
    assert decode_outcome(b"") is None


def test_the_state_of_a_task_follows_from_the_end_of_its_call() -> None:
    states = {end: state_of(Outcome(end)) for end in End}
    assert states.pop(End.RETURNED) == "TASK_FINISHED"
    assert states.pop(End.CANCELLED) == "TASK_KILLED"
    assert states.pop(End.REFUSED) == "TASK_DROPPED"
    assert set(states.values()) == {"TASK_FAILED"}


def test_an_exception_travels_apart_from_its_texts_and_a_long_traceback_loses_its_middle() -> None:
    traceback = "begin" + "." * 2 * MAX_TRACEBACK_LENGTH + "end"
    pickled, type_name, message, text = unpack_raised(pack_raised(b"pickled", "ValueError", "no", traceback))
    assert (pickled, type_name, message) == (b"pickled", "ValueError", "no")
    assert text.startswith("begin")
    assert text.endswith("end")
    assert len(text) < MAX_TRACEBACK_LENGTH + 100


def test_settings_are_read_as_they_were_written() -> None:
    settings = PythonSettings(python="3.11", pool={"stream": "x"}, mem_mib_per_worker=64, max_result_mib=7, chunk_us=9)
    assert settings_from(settings.to_data()) == settings


def test_settings_of_a_newer_framework_are_read_as_far_as_they_are_known() -> None:
    assert settings_from(b'{"python": "3.12", "colour": "red"}') == PythonSettings(python="3.12")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is JSON"),
        (b"[]", "JSON object"),
        (b"{}", "no version of Python"),
        (b'{"python": "3.11", "pool": 3}', "pool"),
        (b'{"python": "3.11", "mem_mib_per_worker": -1}', "mem_mib_per_worker"),
        (b'{"python": "3.11", "max_result_mib": true}', "max_result_mib"),
        (b'{"python": "3.11", "chunk_us": 0.5}', "chunk_us"),
    ],
)
def test_settings_that_say_nothing_are_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        settings_from(data)


def test_a_question_and_its_answer_are_read_as_they_were_written() -> None:
    assert decode_task(STORE_DATA) == StoreTask()
    outcome = decode_outcome(encode_store("http://agent:1", "token"))
    assert outcome is not None
    assert decode_store(outcome.payload) == ("http://agent:1", "token")


@pytest.mark.parametrize("payload", [b"", b"garbage", dumps(("url",)), dumps(("url", 1)), BlockRef("block", 1)])
def test_what_is_no_answer_is_refused(payload: bytes | BlockRef) -> None:
    with pytest.raises(BadBytes):
        decode_store(payload)
