"""Calls that take too long or too much, calls that are not wanted any more, and the crew of workers that grows, dies and ends."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesolite.executors.python.calls import End
from tests.integration.call_rig import (
    MEBIBYTE,
    CallRig,
    call_rig,
    double,
    pause,
    run_among_neighbours,
    runs,
    touch_and_pause,
    value_of,
)
from tests.waiting import eventually


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[CallRig]:
    with call_rig(tmp_path) as made:
        yield made


def test_a_call_beyond_its_time_is_ended_alone(rig: CallRig) -> None:
    outcome = run_among_neighbours(rig, pause, 60, timeout_ms=100)
    assert outcome.end is End.TIMED_OUT
    assert "100 ms" in outcome.message
    assert outcome.ran_us >= 100_000


def test_a_call_beyond_its_memory_is_ended_alone_with_limit_and_peak(rig: CallRig) -> None:
    def hoard() -> None:
        hoarded: list[bytes] = []
        for _ in range(200):
            hoarded.append(os.urandom(4 * MEBIBYTE))
            threading.Event().wait(0.01)

    outcome = run_among_neighbours(rig, hoard, mem_bytes=64 * MEBIBYTE)
    assert outcome.end is End.OUT_OF_MEMORY
    assert outcome.limit_bytes == 64 * MEBIBYTE
    assert outcome.peak_bytes > outcome.limit_bytes
    assert "MiB are allowed" in outcome.message


def test_a_call_that_waits_is_cancelled_before_it_begins(tmp_path: Path) -> None:
    with call_rig(tmp_path, workers=1) as rig:
        begun = tmp_path / "begun"
        busy = rig.submit(touch_and_pause, begun, 60)
        waiting = rig.submit(double, 1)
        rig.runner.cancel(waiting, kill=False)
        outcome = rig.wait(waiting)
        assert outcome.end is End.CANCELLED
        assert not outcome.begun
        rig.until(begun.exists)
        rig.runner.cancel(busy, kill=False)
        rig.runner.cancel("nobody", kill=True)
        assert busy not in rig.ends
        rig.runner.cancel(busy, kill=True)
        assert rig.wait(busy).end is End.CANCELLED
        assert rig.ends[busy].begun
        assert rig.value(double, 4) == 8


def test_short_calls_are_not_held_up_behind_one_that_turns_out_long(tmp_path: Path) -> None:
    """Method: a function that has proven short waits for a file in one of its calls, which others behind it then make."""
    gate = tmp_path / "gate"

    def usually_short(number: int) -> int:
        if number == 5:
            while not gate.exists():
                threading.Event().wait(0.01)
        return number

    with call_rig(tmp_path, workers=2) as rig:
        rig.wait_all([rig.submit(usually_short, 0) for _ in range(50)])
        keys = [rig.submit(usually_short, number) for number in range(100)]
        others = [key for number, key in enumerate(keys) if number != 5]
        rig.wait_all(others)
        assert keys[5] not in rig.ends
        assert keys[5] in rig.begun
        gate.touch()
        assert value_of(rig.wait(keys[5])) == 5


# Workers


def test_workers_that_are_killed_while_they_wait_are_replaced(rig: CallRig) -> None:
    assert rig.value(double, 1) == 2
    before = set(rig.pids())
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    rig.until(lambda: len(rig.runner.ready) == 2 and not before & set(rig.pids()))
    assert rig.value(double, 2) == 4


def test_when_the_zygote_is_killed_running_calls_end_and_others_go_on(rig: CallRig, tmp_path: Path) -> None:
    marks = [tmp_path / "one", tmp_path / "two"]
    running = [rig.submit(touch_and_pause, mark, 60) for mark in marks]
    rig.until(lambda: all(mark.exists() for mark in marks))
    waiting = [rig.submit(double, number) for number in range(20)]
    os.kill(rig.zygote.pid, signal.SIGKILL)
    assert [outcome.end for outcome in rig.wait_all(running)] == [End.DIED, End.DIED]
    assert [value_of(outcome) for outcome in rig.wait_all(waiting)] == [2 * number for number in range(20)]


def test_the_crew_grows_and_shrinks(rig: CallRig) -> None:
    rig.runner.resize(5)
    rig.until(lambda: len(rig.pids()) == 5)
    surplus = rig.runner.resize(1)
    assert len(surplus) == 4
    rig.until(lambda: len(rig.pids()) == 1)
    assert not any(rig.runner.lives(worker) for worker in surplus)
    assert rig.value(double, 3) == 6


def test_a_worker_that_is_too_many_ends_its_call_first(tmp_path: Path) -> None:
    with call_rig(tmp_path, workers=1) as rig:
        begun = tmp_path / "begun"
        key = rig.submit(touch_and_pause, begun, 0.3)
        rig.until(begun.exists)
        [worker] = rig.runner.resize(0)
        assert value_of(rig.wait(key)) is False
        rig.until(lambda: not rig.runner.lives(worker))


def test_stopping_gives_back_what_has_not_begun_and_lets_the_rest_end(tmp_path: Path) -> None:
    with call_rig(tmp_path, workers=1) as rig:
        begun = tmp_path / "begun"
        running = rig.submit(touch_and_pause, begun, 0.2)
        rig.until(begun.exists)
        waiting = [rig.submit(double, number) for number in range(10)]
        stopped: list[bool] = []
        rig.runner.stop(lambda: stopped.append(True))
        late = rig.submit(double, 1)
        assert {outcome.end for outcome in rig.wait_all([*waiting, late])} == {End.REFUSED}
        assert not any(rig.ends[key].begun for key in waiting)
        rig.until(lambda: bool(stopped))
        assert value_of(rig.ends[running]) is False


def test_nothing_runs_on_when_the_runner_is_closed(tmp_path: Path) -> None:
    with call_rig(tmp_path, workers=2) as rig:
        rig.submit(pause, 60)
        rig.until(lambda: bool(rig.begun) and len(rig.pids()) == 2)
        pids = [*rig.pids(), rig.zygote.pid]
    eventually(lambda: not any(runs(pid) for pid in pids))


def test_an_idle_worker_that_holds_much_more_than_at_first_is_replaced(tmp_path: Path) -> None:
    def hoard() -> int:
        globals()["_hoard_of_a_test"] = os.urandom(300 * MEBIBYTE)
        return os.getpid()

    with call_rig(tmp_path, workers=1) as rig:
        rig.until(lambda: bool(rig.runner.ready))
        rig.until(lambda: bool(vars(rig.runner)["_first_bytes"]))
        first = rig.value(hoard)
        rig.until(lambda: rig.pids() != [first] and len(rig.pids()) == 1)
        assert rig.value(os.getpid) != first
