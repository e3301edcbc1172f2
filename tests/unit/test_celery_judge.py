"""The judge of Celery's tasks under kills complains about each way to break a promise, and about nothing else."""

import pytest

from tests.e2e.celery_judge import Account, accounted, begun_as_promised, chord_done, ended_as_excused


def test_tasks_that_ended_as_they_fit_are_no_complaint() -> None:
    accounts = [
        Account(number=1, how="fine", starts=1, state="SUCCESS", value=1),
        Account(number=2, how="greedy", starts=1, state="FAILURE", error="MemoryLimitExceeded"),
        Account(number=3, how="exits", starts=1, state="FAILURE", error="WorkerLostError"),
        Account(number=4, how="killed", starts=1, state="FAILURE", error="WorkerLostError"),
    ]
    assert accounted(accounts) == []


@pytest.mark.parametrize(
    ("account", "complaint"),
    [
        (Account(number=1, how="fine", starts=2, state="SUCCESS", value=1), "began 2 times"),
        (Account(number=1, how="fine", starts=0, state="SUCCESS", value=1), "began 0 times"),
        (Account(number=1, how="fine", starts=1, state=None), "it is None"),
        (Account(number=1, how="fine", starts=1, state="SUCCESS", value=2), "it is SUCCESS, 2"),
        (Account(number=1, how="greedy", starts=1, state="FAILURE", error="WorkerLostError"), "MemoryLimitExceeded"),
        (Account(number=1, how="killed", starts=1, state="SUCCESS", value=1), "was to fail with WorkerLostError"),
    ],
)
def test_a_task_that_ended_otherwise_is_named(account: Account, complaint: str) -> None:
    (said,) = accounted([account])
    assert complaint in said


def test_many_complaints_are_counted_not_listed() -> None:
    said = accounted(Account(number=number, how="fine", starts=1, state=None) for number in range(50))
    assert said[-1] == "and 40 more"


@pytest.mark.parametrize(("bodies", "fine"), [(["3 3"], True), ([], False), (["2 1"], False), (["3 3", "3 3"], False)])
def test_a_body_runs_once_with_all_results(bodies: list[str], fine: bool) -> None:
    assert (chord_done(3, bodies) == []) is fine


def test_late_tasks_may_begin_again_as_often_as_something_died_and_early_ones_never() -> None:
    assert begun_as_promised([0, 0, 1, 10], range(2), range(10, 12), again_at_most=1) == []
    assert "began again" in begun_as_promised([0, 0, 0, 1], range(2), range(0), again_at_most=1)[0]
    assert "never began" in begun_as_promised([0], range(2), range(0), again_at_most=1)[0]
    assert "acknowledged early" in begun_as_promised([0, 1, 10, 10], range(2), range(10, 11), again_at_most=9)[0]


def test_failures_are_excused_up_to_what_was_killed() -> None:
    ends = {0: "SUCCESS", 1: "WorkerLostError", 2: "nothing"}
    assert ended_as_excused(ends, {"WorkerLostError": 1, "nothing": 1}) == []
    assert ended_as_excused(ends, {"WorkerLostError": 1}) == ["1 tasks ended with nothing, where 0 at most may"]
