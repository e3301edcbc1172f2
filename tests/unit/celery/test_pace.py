"""How many messages are held ahead."""

from mesolite.frameworks.celery.broker.pace import MAX_AHEAD, Pace


def test_nothing_is_held_ahead_before_anything_ended() -> None:
    assert Pace().ahead(1.0) == 0


def test_a_twentieth_of_a_second_of_what_ends_is_held_ahead() -> None:
    pace = Pace()
    for tick in range(100):
        pace.note(10, tick * 0.01)
    assert 45 <= pace.ahead(1.0) <= 55


def test_long_tasks_hold_nothing_ahead() -> None:
    pace = Pace()
    for second in range(5):
        pace.note(2, float(second))
    assert pace.ahead(5.0) == 0


def test_what_is_held_ahead_has_a_limit_and_is_given_up_when_nothing_ends() -> None:
    pace = Pace()
    pace.note(1_000_000, 0.0)
    assert pace.ahead(0.1) == MAX_AHEAD
    assert pace.ahead(0.7) == 0
