"""When memory is handed back."""

from mesolite.trimming import IDLE_S, IdleTrim, trim


def test_it_is_due_once_after_the_beginning() -> None:
    idle = IdleTrim()
    looks = [idle.look(busy=False, now_s=now_s) for now_s in (0, IDLE_S - 1, IDLE_S, IDLE_S + 1, 10 * IDLE_S)]
    assert looks == [False, False, True, False, False]


def test_it_is_due_again_when_there_was_something_to_do_and_is_nothing_for_a_while() -> None:
    idle = IdleTrim()
    assert not idle.look(busy=False, now_s=0)
    assert idle.look(busy=False, now_s=IDLE_S)
    assert not idle.look(busy=True, now_s=100)
    assert not idle.look(busy=False, now_s=101)
    assert idle.look(busy=False, now_s=101 + IDLE_S)


def test_a_pause_that_is_shorter_is_none() -> None:
    idle = IdleTrim()
    for now_s in range(20):
        assert not idle.look(busy=now_s % 2 == 0, now_s=now_s * (IDLE_S - 1))


def test_trimming_does_no_harm() -> None:
    held = [bytes(100_000) for _ in range(100)]
    del held[::2]
    trim()
    assert all(not any(each[:10]) for each in held)
