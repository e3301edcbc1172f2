"""What the end of a worker means for its call, and how many workers there are to be."""

import signal
from dataclasses import replace

import pytest

from mesolite.executors.python import staffing
from mesolite.executors.python.assignment import Assignment, Lane
from mesolite.executors.python.calls import Call, End, Function, Outcome
from mesolite.executors.python.endings import (
    EXIT_CHANNEL_LOST,
    EXIT_NOT_STARTED,
    NOT_FORKED,
    WorkerEnd,
    out_of_memory,
    outcome_of,
    timed_out,
)
from mesolite.executors.python.executor import wanted_workers

MEBIBYTE = 1024 * 1024


def test_a_signal_is_told_by_number_and_name() -> None:
    outcome = outcome_of(WorkerEnd(status=int(signal.SIGSEGV)), ran_us=5)
    assert outcome == Outcome(End.DIED, message=outcome.message, ran_us=5)
    assert "signal 11 (SIGSEGV" in outcome.message


def test_how_to_see_what_a_call_printed_stands_behind_why_it_ended() -> None:
    for intent in (None, out_of_memory(64 * MEBIBYTE, 70 * MEBIBYTE)):
        worker = WorkerEnd(status=9, intent=intent)
        bare = outcome_of(worker, 5)
        assert outcome_of(worker, 5, "it is there") == replace(bare, message=f"{bare.message}; it is there")


def test_a_core_dump_hides_no_signal() -> None:
    assert "SIGABRT" in outcome_of(WorkerEnd(status=int(signal.SIGABRT) | 0x80), ran_us=0).message


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (7 << 8, "code 7"),
        (0, "code 0"),
        (EXIT_CHANNEL_LOST << 8, "closed all descriptors"),
        (EXIT_NOT_STARTED << 8, "could not start"),
        (NOT_FORKED, "could not be started"),
        (62, "signal 62 (unknown)"),
    ],
)
def test_an_exit_is_told_as_what_it_was(status: int, said: str) -> None:
    outcome = outcome_of(WorkerEnd(status=status), ran_us=0)
    assert outcome.end is End.DIED
    assert said in outcome.message


def test_a_kill_by_the_kernel_for_memory_is_told_as_that() -> None:
    ended = WorkerEnd(
        status=int(signal.SIGKILL), oom_killed=True, peak_bytes=90 * MEBIBYTE, container_bytes=100 * MEBIBYTE
    )
    outcome = outcome_of(ended, ran_us=0)
    assert outcome.end is End.OUT_OF_MEMORY
    assert (outcome.limit_bytes, outcome.peak_bytes) == (100 * MEBIBYTE, 90 * MEBIBYTE)
    assert "100 MiB" in outcome.message


def test_a_crash_beside_a_kill_for_memory_is_a_crash() -> None:
    assert outcome_of(WorkerEnd(status=int(signal.SIGSEGV), oom_killed=True), ran_us=0).end is End.DIED


def test_what_we_ended_is_told_as_why() -> None:
    intent = out_of_memory(64 * MEBIBYTE, 70 * MEBIBYTE)
    outcome = outcome_of(WorkerEnd(status=9, peak_bytes=80 * MEBIBYTE, intent=intent), ran_us=0)
    assert outcome.end is End.OUT_OF_MEMORY
    assert (outcome.limit_bytes, outcome.peak_bytes) == (64 * MEBIBYTE, 80 * MEBIBYTE)
    call = Call(1, Function(b"f" * 16, b""), b"", lambda call, outcome: None, timeout_ms=30)
    assert outcome_of(WorkerEnd(status=9, intent=timed_out(call)), ran_us=31_000).message == "ran longer than 30 ms"


def lanes(*idle: bool) -> list[Lane]:
    """Workers, some of which have nothing to do."""
    core = Assignment()
    made = [core.add_worker(number) for number in range(1, len(idle) + 1)]
    for lane, is_idle in zip(made, idle, strict=True):
        lane.ready = True
        if not is_idle:
            core.submit(Call(lane.worker, Function(b"f" * 16, b""), b"", lambda call, outcome: None), 1, alone=True)
            for other in made:
                other.closing = other is not lane
            core.deal(0)
    for lane in made:
        lane.closing = False
    return made


def test_missing_workers_are_started_and_closing_ones_do_not_count() -> None:
    crew = lanes(True, True)
    assert staffing.to_hire(3, crew) == 1
    crew[0].closing = True
    assert staffing.to_hire(3, crew) == 2
    assert staffing.to_hire(1, crew) == 0
    assert staffing.to_hire(1_000_000, []) == staffing.MAX_WORKERS


def test_of_too_many_workers_those_without_work_go_first_and_of_these_the_newest() -> None:
    crew = lanes(True, False, True, False)
    assert [lane.worker for lane in staffing.to_dismiss(1, crew)] == [3, 1, 4]
    assert staffing.to_dismiss(4, crew) == []


def test_pauses_grow_with_false_starts_and_end_somewhere() -> None:
    pauses = [staffing.pause_ms(count) for count in range(40)]
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 5_000


def test_the_share_of_a_worker_leaves_room_for_main() -> None:
    assert staffing.share_bytes(0, 2) == 0
    assert staffing.share_bytes(1024 * MEBIBYTE, 2) == (1024 * MEBIBYTE - staffing.RESERVED_BYTES) // 2
    assert staffing.share_bytes(32 * MEBIBYTE, 1) == 16 * MEBIBYTE


def test_growth_is_judged_by_what_a_worker_may_use() -> None:
    assert staffing.has_grown(10, 10 + staffing.MAX_GROWTH_BYTES + 1, 0)
    assert not staffing.has_grown(10, staffing.MAX_GROWTH_BYTES, 0)
    assert staffing.has_grown(0, 17 * MEBIBYTE, 64 * MEBIBYTE)


@pytest.mark.parametrize(
    ("slots", "slot_cpus", "container_cpus", "calls", "wanted"),
    [
        (0, 0.0, 4.0, False, 1),
        (0, 0.0, 4.1, True, 4),
        (2, 2.0, 2.1, False, 2),
        (2, 2.0, 2.1, True, 3),
        (2, 2.0, 5.0, True, 5),
        (0, 0.0, 0.1, True, 1),
        (1, 0.5, 2.5, True, 3),
        (0, 0.0, 2.9999, True, 3),
    ],
)
def test_workers_follow_slots_and_cpus(
    slots: int, slot_cpus: float, container_cpus: float, calls: bool, wanted: int
) -> None:
    assert wanted_workers(slots, slot_cpus, container_cpus, calls=calls) == wanted


def test_calls_that_wait_while_none_ends_get_workers_of_their_own() -> None:
    impatience = staffing.Impatience()
    assert not impatience.look(ended=5, waiting=8, workers=2, calls=10), "some have ended since the last look"
    assert impatience.look(ended=5, waiting=8, workers=2, calls=10)
    assert impatience.extra == 2, "at most twice as many workers"
    assert impatience.look(ended=5, waiting=6, workers=4, calls=10)
    assert impatience.look(ended=5, waiting=2, workers=8, calls=10)
    assert impatience.extra == 8
    assert not impatience.look(ended=5, waiting=0, workers=10, calls=10)


def test_more_workers_than_calls_are_of_no_use() -> None:
    impatience = staffing.Impatience()
    impatience.look(ended=1, waiting=0, workers=1, calls=1)
    assert not impatience.look(ended=1, waiting=3, workers=4, calls=4)
    assert impatience.extra == 0


def test_patience_returns_when_nothing_is_left_to_do() -> None:
    impatience = staffing.Impatience()
    impatience.look(ended=1, waiting=1, workers=1, calls=2)
    impatience.look(ended=1, waiting=1, workers=1, calls=2)
    assert impatience.extra == 1
    impatience.rest()
    assert impatience.extra == 0
