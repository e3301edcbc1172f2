"""The judge of calls under kills objects to what is wrong: each fact that breaks a promise is planted once."""

import pytest

from tests.e2e.calls_judge import MAX_SHOWN, Ended, Failed, Returned, verdict

#: Four calls: two returned, one's worker was killed under it, one was lost before it began.
BEGAN = [0, 1, 2]
ENDED: list[Ended] = [Returned(0, 0), Returned(1, 1), Failed(2, "WorkerDied"), Failed(3, "CallLost")]
EXCUSED = {"WorkerDied": 1, "CallLost": 1}


def complaints(
    began: list[int] = BEGAN, ended: list[Ended] = ENDED, excused: dict[str, int] | None = None
) -> list[str]:
    return verdict(4, began, ended, EXCUSED | (excused or {}))


def test_calls_that_were_treated_as_promised_give_no_reason_to_complain() -> None:
    assert complaints() == []


def test_a_call_that_began_twice_is_found() -> None:
    assert complaints(began=[*BEGAN, 1]) == ["1 began 2 times"]


def test_a_lost_call_that_began_twice_is_found() -> None:
    assert complaints(began=[*BEGAN, 3, 3]) == ["3 began 2 times"]


def test_a_call_without_an_end_is_found() -> None:
    assert complaints(ended=ENDED[1:]) == ["0 ended 0 times: []"]


def test_a_call_with_two_ends_is_found() -> None:
    (complaint,) = complaints(ended=[*ENDED, Failed(0, "CallLost")], excused={"CallLost": 2})
    assert complaint.startswith("0 ended 2 times: ")


def test_a_result_of_another_call_is_found() -> None:
    assert complaints(ended=[Returned(0, 1), *ENDED[1:]]) == ["0 returned 1"]


def test_a_result_out_of_nothing_is_found() -> None:
    assert complaints(began=[1, 2]) == ["0 returned and never began"]


@pytest.mark.parametrize("excused", [{"WorkerDied": 0}, {"CallLost": 0}])
def test_more_failures_than_was_killed_are_found(excused: dict[str, int]) -> None:
    (complaint,) = complaints(excused=excused)
    assert complaint.startswith(f"1 calls failed with {next(iter(excused))}, and what was killed accounts for 0; ")


def test_a_failure_that_nothing_excuses_is_found() -> None:
    (complaint,) = complaints(ended=[*ENDED[:3], Failed(3, "RemoteError", "odd")])
    assert complaint == "1 calls failed with RemoteError, and what was killed accounts for 0; one is 3: odd"


def test_strangers_are_found() -> None:
    assert complaints(began=[*BEGAN, 9], ended=[*ENDED, Returned(8, 8)]) == [
        "9 began and was never submitted",
        "8 ended and was never submitted",
    ]


def test_many_complaints_are_cut_short() -> None:
    found = verdict(100, range(100), [], {})
    assert len(found) == MAX_SHOWN + 1
    assert found[-1] == f"and {100 - MAX_SHOWN} more"
