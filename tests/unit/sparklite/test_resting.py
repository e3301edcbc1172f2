"""Executors that rest because their agent's store takes nothing."""

from mesolite.frameworks.sparklite.resting import REST_MS, Resting


def test_one_rests_for_its_time_and_is_told_once() -> None:
    resting = Resting()
    assert resting.deadline_ms() is None
    resting.rest("b", 1_000)
    resting.rest("a", 1_500)
    assert "a" in resting
    assert resting.deadline_ms() == 1_000 + REST_MS
    assert resting.take_rested(999 + REST_MS) == []
    assert resting.take_rested(1_500 + REST_MS) == ["a", "b"]
    assert "a" not in resting
    assert resting.take_rested(10 * REST_MS) == []


def test_what_it_took_nothing_again_prolongs_the_rest_and_its_end_ends_it() -> None:
    resting = Resting()
    resting.rest("a", 1_000)
    resting.rest("a", 2_000)
    assert resting.deadline_ms() == 2_000 + REST_MS
    resting.forget("a")
    resting.forget("unknown")
    assert resting.deadline_ms() is None
