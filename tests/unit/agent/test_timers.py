"""Deadlines that are never unset."""

from hypothesis import given
from hypothesis import strategies as st

from mesolite.agent.timers import MIN_SWEPT, Timers


def test_deadlines_come_in_order_of_time_then_of_setting() -> None:
    timers: Timers[str] = Timers(lambda due_ms, thing: True)
    for due_ms, thing in ((5, "b"), (3, "a"), (5, "c"), (9, "d")):
        timers.set(due_ms, thing)
    assert timers.next_due_ms == 3
    assert timers.take_due(5) == [(3, "a"), (5, "b"), (5, "c")]
    assert timers.take_due(8) == []
    assert timers.next_due_ms == 9


def test_void_deadlines_are_passed_over() -> None:
    timers: Timers[str] = Timers(lambda due_ms, thing: thing != "void")
    timers.set(1, "void")
    timers.set(1, "kept")
    assert timers.take_due(1) == [(1, "kept")]


def test_void_deadlines_do_not_pile_up() -> None:
    """Ten times as many as are swept at once, all but ten of them void."""
    kept = set(range(10))
    timers: Timers[int] = Timers(lambda due_ms, thing: thing in kept)
    for number in range(10 * MIN_SWEPT):
        timers.set(1000 + number, number)
        assert len(timers) <= MIN_SWEPT
    assert [thing for _, thing in timers.take_due(10**9)] == sorted(kept)


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=50), st.integers(0, 100))
def test_exactly_what_is_due_and_matters_is_taken(settings: list[tuple[int, bool]], now_ms: int) -> None:
    timers: Timers[tuple[int, bool]] = Timers(lambda due_ms, thing: thing[1])
    for number, (due_ms, matters) in enumerate(settings):
        timers.set(due_ms, (number, matters))
    taken = {thing[0] for _, thing in timers.take_due(now_ms)}
    assert taken == {number for number, (due_ms, matters) in enumerate(settings) if matters and due_ms <= now_ms}
