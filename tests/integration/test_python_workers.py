"""Calls in real worker processes: what a call may do to its process, it does to itself alone.

Each test sends the misbehaving call together with innocent neighbours, and looks at both.
"""

import contextlib
import os
import pickle
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from mesolite.executors.python.calls import End
from mesolite.executors.python.limits import Limits
from tests.integration.call_rig import (
    MEBIBYTE,
    CallRig,
    backwards,
    call_rig,
    double,
    pause,
    raised_by,
    run_among_neighbours,
    runs,
    value_of,
)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[CallRig]:
    with call_rig(tmp_path) as made:
        yield made


def test_a_call_returns_what_its_function_returns(rig: CallRig) -> None:
    assert rig.value(double, 21) == 42


def test_many_calls_each_end_once(rig: CallRig) -> None:
    keys = [rig.submit(double, number) for number in range(3_000)]
    assert [value_of(outcome) for outcome in rig.wait_all(keys)] == [2 * number for number in range(3_000)]
    assert set(rig.times_done.values()) == {1}
    assert rig.runner.succeeded == 3_000


def test_an_exception_comes_with_its_traceback_and_without_frames_of_ours(rig: CallRig) -> None:
    def fail() -> NoReturn:
        raise LookupError("nothing there")

    error, type_name, message, text = raised_by(run_among_neighbours(rig, fail))
    assert isinstance(error, LookupError)
    assert error.args == ("nothing there",)
    assert (type_name, message) == ("LookupError", "nothing there")
    assert "in fail" in text
    assert "worker.py" not in text


def test_an_exception_that_cannot_be_remade_lives_on_in_its_texts(rig: CallRig) -> None:
    class Demanding(Exception):
        def __init__(self, first: int, second: int) -> None:
            super().__init__(f"{first} and {second}")

    def fail() -> NoReturn:
        raise Demanding(1, 2)

    error, type_name, message, text = raised_by(run_among_neighbours(rig, fail))
    assert error is None
    assert type_name.endswith("Demanding")
    assert message == "1 and 2"
    assert "Demanding: 1 and 2" in text


def test_an_exception_with_a_lock_in_it_lives_on_in_its_texts(rig: CallRig) -> None:
    def fail() -> NoReturn:
        raise ValueError("held", threading.Lock())

    error, type_name, _, _ = raised_by(run_among_neighbours(rig, fail))
    assert error is None
    assert type_name == "ValueError"


def test_a_result_that_cannot_be_pickled_is_named_with_its_path(rig: CallRig) -> None:
    class Holder:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    def make() -> dict[str, object]:
        return {"items": [1, 2, 3, Holder()]}

    outcome = run_among_neighbours(rig, make)
    assert outcome.end is End.UNPICKLABLE
    assert "result['items'][3].lock" in outcome.message
    assert "_thread.lock" in outcome.message


def test_arguments_that_cannot_be_unpickled_are_named(rig: CallRig) -> None:
    call = rig.call("odd", double, 1)
    call.arguments = b"cno_such_module\nThing\n."
    rig.runner.submit([call])
    outcome = rig.wait("odd")
    assert outcome.end is End.UNPICKLABLE
    assert "the arguments cannot be unpickled in the worker: ModuleNotFoundError" in outcome.message
    assert "register_pickle_by_value" in outcome.message
    assert rig.value(double, 2) == 4


def test_a_function_that_cannot_be_unpickled_fails_each_of_its_calls_and_no_other(rig: CallRig) -> None:
    calls = [rig.call(("odd", number), double, 1) for number in range(10)]
    odd = type(calls[0].function)(b"o" * 16, b"cno_such_module\nthing\n.")
    for call in calls:
        call.function = odd
    rig.runner.submit(calls)
    for call in calls:
        assert rig.wait(call.key).end is End.UNPICKLABLE
        assert "the function cannot be unpickled" in rig.ends[call.key].message
    assert rig.value(double, 2) == 4


def test_a_class_of_the_program_itself_comes_back_as_the_same_class(rig: CallRig) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    def move(point: Point) -> Point:
        return Point(point.x + 1)

    moved = rig.value(move, Point(1))
    assert isinstance(moved, Point)
    assert moved.x == 2


def test_a_result_beyond_the_limit_names_the_setting(tmp_path: Path) -> None:
    with call_rig(tmp_path, limits=Limits(3 * MEBIBYTE, MEBIBYTE)) as rig:
        too_large = run_among_neighbours(rig, bytes, 4 * MEBIBYTE)
        assert too_large.end is End.TOO_LARGE
        assert "max_result_bytes" in too_large.message
        without_blocks = rig.run(bytes, 2 * MEBIBYTE)
        assert without_blocks.end is End.TOO_LARGE
        assert "no block store" in without_blocks.message


def test_large_arguments_and_results_travel_in_parts(rig: CallRig) -> None:
    payload = os.urandom(800_000)
    assert run_among_neighbours(rig, backwards, payload).payload == pickle.dumps(payload[::-1], 5)


# Processes that end


def test_a_call_that_exits_ends_alone_and_names_the_code(rig: CallRig) -> None:
    outcome = run_among_neighbours(rig, os._exit, 7)
    assert outcome.end is End.DIED
    assert "exited with code 7" in outcome.message


def test_sys_exit_is_an_exception_of_the_call_and_costs_no_worker(rig: CallRig) -> None:
    rig.until(lambda: len(rig.runner.ready) == 2)
    before = rig.pids()
    error, type_name, _, _ = raised_by(run_among_neighbours(rig, sys.exit, 3))
    assert isinstance(error, SystemExit)
    assert type_name == "SystemExit"
    assert rig.pids() == before


def test_a_call_that_kills_itself_names_the_signal(rig: CallRig) -> None:
    outcome = run_among_neighbours(rig, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert outcome.end is End.DIED
    assert "SIGKILL" in outcome.message


def test_a_call_that_crashes_names_the_signal(rig: CallRig) -> None:
    def crash() -> None:
        import ctypes

        ctypes.string_at(0)

    outcome = run_among_neighbours(rig, crash)
    assert outcome.end is End.DIED
    assert "SIGSEGV" in outcome.message


def test_of_short_calls_in_one_worker_each_exit_costs_one(rig: CallRig) -> None:
    """Method: calls of one function, proven short, so that they wait in chunks; every tenth exits."""

    def sometimes(number: int) -> int:
        if number % 10 == 9:
            os._exit(1)
        return number

    rig.wait_all([rig.submit(sometimes, 0) for _ in range(20)])
    keys = [rig.submit(sometimes, number) for number in range(100)]
    ends = [outcome.end for outcome in rig.wait_all(keys)]
    assert ends == [End.DIED if number % 10 == 9 else End.RETURNED for number in range(100)]
    assert set(rig.times_done.values()) == {1}


def test_deep_recursion_is_an_exception_of_the_call(rig: CallRig) -> None:
    def deeper(depth: int) -> int:
        return deeper(depth + 1)

    _, type_name, _, _ = raised_by(run_among_neighbours(rig, deeper, 0))
    assert type_name == "RecursionError"


def test_a_fork_that_returns_runs_no_other_call(rig: CallRig, tmp_path: Path) -> None:
    marks = tmp_path / "marks"

    def fork_and_return() -> str:
        child = os.fork()
        if child == 0:
            return "child"
        os.waitpid(child, 0)
        return "parent"

    def mark(number: int) -> None:
        with marks.open("a") as file:
            file.write(f"{number}\n")

    assert value_of(run_among_neighbours(rig, fork_and_return)) == "parent"
    rig.wait_all([rig.submit(mark, number) for number in range(50)])
    assert sorted(int(line) for line in marks.read_text().split()) == list(range(50))


def test_a_fork_that_raises_ends_nothing_but_itself(rig: CallRig) -> None:
    def fork_and_raise() -> str:
        child = os.fork()
        if child == 0:
            raise ValueError("in the child")
        os.waitpid(child, 0)
        return "parent"

    assert value_of(run_among_neighbours(rig, fork_and_raise)) == "parent"


def test_children_that_a_call_leaves_end_with_its_worker(rig: CallRig) -> None:
    def leave() -> int:
        child = os.fork()
        if child == 0:
            pause(600)
            os._exit(0)
        return child

    child = rig.value(leave)
    assert runs(child)
    for pid in rig.pids():
        os.kill(pid, signal.SIGKILL)
    rig.until(lambda: not runs(child))
    assert rig.value(double, 1) == 2


# What a call changes


def test_directory_umask_environment_and_limits_are_put_back(tmp_path: Path) -> None:
    def change() -> None:
        os.chdir("/")
        os.umask(0o777)
        os.environ["MESOLITE_TEST_LEFT"] = "left"
        del os.environ["PATH"]
        sys.setrecursionlimit(200)
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    def state() -> tuple[str, int, bool, bool, bool]:
        before = os.umask(0o022)
        os.umask(before)
        kept = sys.getrecursionlimit() > 200
        return str(Path.cwd()), before, "MESOLITE_TEST_LEFT" in os.environ, "PATH" in os.environ, kept

    with call_rig(tmp_path, workers=1) as rig:
        assert rig.value(change) is None
        assert rig.value(state) == (str(tmp_path), 0o022, False, True, True)
        # The alarm that was left would have ended the worker meanwhile.
        assert rig.value(lambda: threading.Event().wait(0.1)) is False


def test_variables_of_a_call_are_its_own(tmp_path: Path) -> None:
    with call_rig(tmp_path, workers=1) as rig:
        assert rig.value(lambda: os.environ.get("COLOUR"), environment={"COLOUR": "red"}) == "red"
        assert rig.value(lambda: os.environ.get("COLOUR")) is None


def test_a_directory_that_is_gone_is_no_reason_to_fail(rig: CallRig, tmp_path: Path) -> None:
    def stray() -> None:
        lost = tmp_path / "lost"
        lost.mkdir()
        os.chdir(lost)
        lost.rmdir()

    assert rig.value(stray) is None
    assert rig.value(lambda: str(Path.cwd())) == str(tmp_path)


def test_a_thread_that_never_ends_costs_a_new_worker_and_no_call(tmp_path: Path) -> None:
    def start_thread() -> int:
        threading.Thread(target=threading.Event().wait).start()
        return os.getpid()

    with call_rig(tmp_path, workers=1) as rig:
        first = rig.value(start_thread)
        outcome = run_among_neighbours(rig, start_thread)
        assert value_of(outcome) != first


def test_a_daemon_thread_may_stay(tmp_path: Path) -> None:
    def start_thread() -> int:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return os.getpid()

    with call_rig(tmp_path, workers=1) as rig:
        assert rig.value(start_thread) == rig.value(os.getpid)


def test_closed_low_descriptors_cost_a_new_worker_and_no_call(rig: CallRig) -> None:
    outcome = run_among_neighbours(rig, os.closerange, 0, 256)
    assert value_of(outcome) is None


def test_a_call_that_closes_everything_ends_alone_and_is_told_so(rig: CallRig) -> None:
    outcome = run_among_neighbours(rig, os.closerange, 0, 65_536)
    assert outcome.end is End.DIED
    assert "closed all descriptors" in outcome.message


def test_a_descriptor_that_took_the_place_of_the_workers_is_not_written_to(rig: CallRig, tmp_path: Path) -> None:
    def confuse(path: str) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        os.closerange(3, soft)
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        for fd in range(4, min(soft, 1_000)):
            os.dup2(file, fd)

    outcome = run_among_neighbours(rig, confuse, str(tmp_path / "taken"))
    assert outcome.end is End.DIED
    assert (tmp_path / "taken").read_bytes() == b""


def test_bytes_written_into_the_workers_own_sockets_end_that_call(rig: CallRig) -> None:
    def babble() -> None:
        for fd in range(3, 1_000):
            with contextlib.suppress(OSError):
                os.write(fd, b"babble")
        pause(60)

    outcome = run_among_neighbours(rig, babble)
    assert outcome.end is End.DIED
    assert "wrote into the descriptors" in outcome.message


def test_modules_in_the_sandbox_can_be_imported(rig: CallRig, tmp_path: Path) -> None:
    (tmp_path / "fetched_module.py").write_text("ANSWER = 42\n")

    def use() -> object:
        import fetched_module  # type: ignore[import-not-found]

        return fetched_module.ANSWER  # pyright: ignore

    assert rig.value(use) == 42


# Output


def test_what_a_call_prints_is_its_own_log(rig: CallRig, tmp_path: Path) -> None:
    def speak(text: str) -> None:
        print(text)  # noqa: T201
        print("and", text, file=sys.stderr)  # noqa: T201
        os.write(1, b"raw\n")

    keys = [rig.submit(speak, f"text {number}", name=f"call-{number}") for number in range(5)]
    rig.wait_all(keys)
    for number in range(5):
        log = (tmp_path / "calls" / f"call-{number}.log").read_text()
        assert log == f"text {number}\nand text {number}\nraw\n"


def test_a_call_that_prints_nothing_leaves_no_log(rig: CallRig, tmp_path: Path) -> None:
    rig.run(double, 1, name="silent")
    assert not list((tmp_path / "calls").glob("*.log"))


def test_the_last_words_of_a_call_that_dies_are_kept(rig: CallRig, tmp_path: Path) -> None:
    def speak_and_die() -> None:
        print("farewell")  # noqa: T201
        os._exit(1)

    assert rig.run(speak_and_die, name="dying").end is End.DIED
    assert (tmp_path / "calls" / "dying.log").read_text() == "farewell\n"


def test_the_log_of_a_call_can_be_watched_while_itruns(rig: CallRig, tmp_path: Path) -> None:
    def speak_and_wait() -> None:
        print("begun")  # noqa: T201
        threading.Event().wait(60)

    key = rig.submit(speak_and_wait, name="long")
    log = tmp_path / "calls" / "long.log"
    rig.until(lambda: log.exists() and log.read_text() == "begun\n")
    rig.runner.cancel(key, kill=True)
    assert rig.wait(key).end is End.CANCELLED
    assert log.read_text() == "begun\n"


@pytest.mark.parametrize("name", ["../outside", "/absolute", ".hidden", "a/b", "x" * 200, "nul\0"])
def test_a_name_that_is_no_file_name_becomes_a_number(rig: CallRig, tmp_path: Path, name: str) -> None:
    rig.run(print, "here", name=name)
    [log] = (tmp_path / "calls").glob("*.log")
    assert log.stem.isdigit()
    assert log.read_text() == "here\n"
