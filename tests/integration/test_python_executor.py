"""The Python executor as a program, from its bundle, with a test in its agent's place: calls and slots as tasks."""

import hashlib
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cloudpickle
import pytest

from mesolite.executors.python.calls import End, Function
from mesolite.executors.python.settings import PythonSettings
from mesolite.executors.python.tasks import SLOT_DATA, STORE_DATA, CallTask, decode_store, encode_call
from tests.integration.stub_agent import StubAgent, all_gone, children_of, launch_message, outcome_in, stub_agent

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
SETTINGS = PythonSettings(python=HERE)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[StubAgent]:
    with stub_agent(tmp_path, SETTINGS.to_data()) as made:
        yield made


def by_value(function: Callable[..., object]) -> bytes:
    """Pickled so that it needs no module of the tests."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        pickled: bytes = cloudpickle.dumps(function, 5)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    return pickled


def call_data(function: Callable[..., object], *args: object, timeout_ms: int | None = None) -> bytes:
    """`TaskInfo.data` of a call."""
    pickled = by_value(function)
    named = Function(hashlib.sha256(pickled).digest()[:16], pickled)
    return encode_call(CallTask(function=named, arguments=pickle.dumps((args, {}), 5), timeout_ms=timeout_ms))


def double(number: int) -> int:
    return 2 * number


def spawn() -> int | None:
    import multiprocessing

    process = multiprocessing.get_context("spawn").Process(target=os.getpid)
    process.start()
    process.join(20)
    return process.exitcode


def touch_and_pause(path: str, seconds: float) -> str:
    Path(path).touch()
    threading.Event().wait(seconds)
    return "paused"


def test_a_short_call_is_one_update_which_carries_its_result(agent: StubAgent) -> None:
    agent.launch("t0", call_data(double, 1))
    agent.end_of("t0")  # a worker is up and has what it needs
    agent.launch("t1", call_data(double, 21))
    outcome = outcome_in(agent.end_of("t1"))
    assert outcome.end is End.RETURNED
    assert outcome.payload == pickle.dumps(42, 5)
    assert agent.states_of("t1") == ["TASK_FINISHED"]


def test_a_call_that_takes_its_time_is_running_first(agent: StubAgent) -> None:
    agent.launch("t1", call_data(touch_and_pause, "mark", 0.3))
    agent.end_of("t1")
    assert agent.states_of("t1") == ["TASK_RUNNING", "TASK_FINISHED"]


def test_a_question_for_a_store_is_answered_at_once_also_where_there_is_none(agent: StubAgent) -> None:
    agent.launch("t1", STORE_DATA)
    assert decode_store(outcome_in(agent.end_of("t1")).payload) == ("", "")
    assert agent.states_of("t1") == ["TASK_FINISHED"]


def test_many_calls_each_end_once(agent: StubAgent) -> None:
    data = [call_data(double, number) for number in range(300)]
    agent.say(*(launch_message(f"t{number}", each) for number, each in enumerate(data)))
    values = [outcome_in(agent.end_of(f"t{number}")).payload for number in range(300)]
    assert values == [pickle.dumps(2 * number, 5) for number in range(300)]
    assert len(agent.updates) == 300


def test_a_call_that_fails_says_what_was_raised_where_people_look(agent: StubAgent) -> None:
    def fail() -> None:
        raise LookupError("nothing there")

    agent.launch("t1", call_data(fail))
    update = agent.end_of("t1")
    assert update["state"] == "TASK_FAILED"
    assert update["message"] == "LookupError: nothing there"
    assert outcome_in(update).end is End.RAISED


def test_a_call_that_dies_is_failed_with_a_reason(agent: StubAgent) -> None:
    agent.launch("t1", call_data(os._exit, 3))
    update = agent.end_of("t1")
    assert update["state"] == "TASK_FAILED"
    assert update["reason"] == "REASON_COMMAND_EXECUTOR_FAILED"
    assert "code 3" in update["message"]


def test_a_call_beyond_its_time_is_failed_with_a_reason(agent: StubAgent) -> None:
    agent.launch("t1", call_data(touch_and_pause, "mark", 60, timeout_ms=100))
    update = agent.end_of("t1")
    assert (update["state"], update["reason"]) == ("TASK_FAILED", "REASON_MAX_COMPLETION_TIME_REACHED")


def test_a_process_that_a_call_spawns_is_no_other_executor(agent: StubAgent) -> None:
    agent.launch("t1", call_data(spawn))
    update = agent.end_of("t1")
    assert update["state"] == "TASK_FINISHED", update.get("message")
    assert outcome_in(update).payload == pickle.dumps(0, 5)


def test_a_killed_call_ends_alone(agent: StubAgent) -> None:
    agent.launch("t1", call_data(touch_and_pause, "mark", 60))
    agent.update_of("t1", "TASK_RUNNING")
    agent.launch("t2", call_data(double, 1))
    agent.say({"type": "KILL", "task_id": "t1", "grace_ms": 1000})
    assert agent.end_of("t1")["state"] == "TASK_KILLED"
    assert agent.end_of("t2")["state"] == "TASK_FINISHED"


def test_a_result_beyond_an_update_is_refused_where_there_is_no_block_store(agent: StubAgent) -> None:
    agent.launch("t1", call_data(bytes, 3_000_000))
    outcome = outcome_in(agent.end_of("t1"))
    assert outcome.end is End.TOO_LARGE
    assert "no block store" in outcome.message


@pytest.mark.parametrize("data", [b"", b"X", b"Cgarbage", b"C\x80\x05N."])
def test_a_task_that_is_none_of_ours_is_an_error(agent: StubAgent, data: bytes) -> None:
    agent.launch("t1", data)
    agent.launch("t2", call_data(double, 1))
    update = agent.end_of("t1")
    assert (update["state"], update["reason"]) == ("TASK_ERROR", "REASON_TASK_INVALID")
    assert agent.end_of("t2")["state"] == "TASK_FINISHED"


def test_another_version_of_python_is_named_before_anything_runs(tmp_path: Path) -> None:
    with stub_agent(tmp_path, PythonSettings(python="2.7").to_data()) as agent:
        agent.say(launch_message("t1", call_data(double, 1)), launch_message("t2", SLOT_DATA))
        for task_id in ("t1", "t2"):
            update = agent.end_of(task_id)
            assert update["state"] == "TASK_ERROR"
            assert f"this container has Python {HERE}, the functions were pickled by Python 2.7" in update["message"]
        assert agent.exit_code() == 78
        assert "Python 2.7" in (agent.sandbox / "stderr").read_text()


def test_settings_that_cannot_be_read_are_said_so(tmp_path: Path) -> None:
    with stub_agent(tmp_path, b"{}") as agent:
        agent.launch("t1", SLOT_DATA)
        assert "names no version of Python" in agent.end_of("t1")["message"]


def test_slots_run_once_their_worker_is_up_and_end_when_killed(agent: StubAgent) -> None:
    for number in range(3):
        agent.launch(f"s{number}", SLOT_DATA, cpus=0.5)
    for number in range(3):
        agent.update_of(f"s{number}", "TASK_RUNNING")
    [zygote] = children_of(agent.process.pid)
    assert len(children_of(zygote)) == 3
    agent.say({"type": "KILL", "task_id": "s1", "grace_ms": 5000})
    assert agent.end_of("s1")["state"] == "TASK_KILLED"
    assert len(children_of(zygote)) == 2
    assert agent.states_of("s0") == ["TASK_RUNNING"]


def test_a_slot_that_is_killed_lets_its_worker_end_its_call(agent: StubAgent) -> None:
    agent.launch("s1", SLOT_DATA, cpus=1.0)
    agent.update_of("s1", "TASK_RUNNING")
    marks = [agent.sandbox / "one", agent.sandbox / "two"]
    # With one slot there are two workers for as long as there are calls that are tasks.
    for mark in marks:
        agent.launch(f"t-{mark.name}", call_data(touch_and_pause, str(mark), 0.5))
    agent.update_of("t-one", "TASK_RUNNING")
    agent.update_of("t-two", "TASK_RUNNING")
    agent.say({"type": "KILL", "task_id": "s1", "grace_ms": 60_000})
    for mark in marks:
        assert agent.end_of(f"t-{mark.name}")["state"] == "TASK_FINISHED"
    assert agent.end_of("s1")["state"] == "TASK_KILLED"


def test_shutdown_drops_what_has_not_begun_kills_what_does_not_end_and_leaves_nothing_running(tmp_path: Path) -> None:
    with stub_agent(tmp_path, SETTINGS.to_data(), cpus=1.0) as agent:
        mark = agent.sandbox / "begun"
        agent.launch("long", call_data(touch_and_pause, str(mark), 60))
        agent.update_of("long", "TASK_RUNNING")
        agent.launch("waits", call_data(double, 1))
        pids = agent.processes()
        agent.say({"type": "SHUTDOWN", "grace_ms": 1_500})
        assert agent.end_of("long")["state"] == "TASK_KILLED"
        assert outcome_in(agent.end_of("waits")).end is End.REFUSED
        assert agent.exit_code() == 0
        all_gone(pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_main_ends_nothing_of_it_runs_on(agent: StubAgent, number: signal.Signals) -> None:
    agent.launch("long", call_data(touch_and_pause, str(agent.sandbox / "mark"), 60))
    agent.update_of("long", "TASK_RUNNING")
    pids = agent.processes()
    assert len(pids) >= 3
    agent.process.send_signal(number)
    all_gone(pids)


def test_totals_are_told_when_they_change(agent: StubAgent) -> None:
    agent.launch("t1", call_data(double, 1))
    agent.launch("t2", call_data(os._exit, 1))
    while not agent.totals or (agent.totals[-1].get("succeeded"), agent.totals[-1].get("failed")) != (1, 1):
        agent.hear()


def test_calls_that_are_tasks_all_run_at_the_same_time_however_few_cpus_they_have(tmp_path: Path) -> None:
    with stub_agent(tmp_path, SETTINGS.to_data(), cpus=1.0) as agent:
        marks = [agent.sandbox / f"mark{number}" for number in range(5)]
        for number, mark in enumerate(marks):
            agent.launch(f"t{number}", call_data(touch_and_pause, str(mark), 60))
        for number in range(5):
            agent.update_of(f"t{number}", "TASK_RUNNING")
        assert all(mark.exists() for mark in marks)
