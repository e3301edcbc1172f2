"""How calls ended, remembered for another client, within bounds."""

from mesolite.executors.python.calls import End, Outcome
from mesolite.executors.python.ended_calls import (
    MAX_AGE_MS,
    MAX_ENDED,
    MAX_ENDED_BYTES,
    MAX_OUTCOME_BYTES,
    SETTLED_AFTER_MS,
    EndedCalls,
)


def test_an_end_is_remembered_by_its_name() -> None:
    ends = EndedCalls()
    ends.keep("a", Outcome(End.RETURNED, b"x"), 0.0)
    assert ends.get("a") == Outcome(End.RETURNED, b"x")
    assert ends.get("b") is None


def test_the_newest_are_remembered_and_what_is_forgotten_is_settled_only_after_a_while() -> None:
    ends = EndedCalls()
    for number in range(MAX_ENDED + 1):
        ends.keep(f"call-{number}", Outcome(End.RETURNED), float(number))
    ends.check()
    assert ends.get("call-0") is None
    assert ends.get("call-1") is not None
    assert not ends.settled(heard_ms=SETTLED_AFTER_MS - 1)
    assert ends.settled(heard_ms=SETTLED_AFTER_MS)


def test_all_is_settled_while_nothing_is_forgotten() -> None:
    ends = EndedCalls()
    ends.keep("a", Outcome(End.RETURNED), 1_000.0)
    assert ends.settled(heard_ms=float("-inf"))


def test_large_outcomes_are_bounded_together_and_alone() -> None:
    ends = EndedCalls()
    ends.keep("larger", Outcome(End.RETURNED, b"x" * (MAX_OUTCOME_BYTES + 1)), 0.0)
    kept = ends.get("larger")
    assert kept is not None
    assert (kept.end, kept.payload) == (End.BLOCK_LOST, b"")
    for number in range(3 * MAX_ENDED_BYTES // MAX_OUTCOME_BYTES):
        ends.keep(f"call-{number}", Outcome(End.RETURNED, b"x" * (MAX_OUTCOME_BYTES // 2)), 0.0)
        ends.check()
    assert ends.get("call-0") is None


def test_what_is_old_is_forgotten() -> None:
    ends = EndedCalls()
    ends.keep("old", Outcome(End.RETURNED), 0.0)
    ends.keep("new", Outcome(End.RETURNED), MAX_AGE_MS + 1.0)
    assert ends.get("old") is None
    assert ends.get("new") is not None
