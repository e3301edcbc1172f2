"""How long the oldest message has waited, reckoned from lengths and from how many tasks have begun."""

import random
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from mesolite.frameworks.celery_workers.waiting_age import WaitingAge


def test_an_empty_queue_has_no_age() -> None:
    age = WaitingAge()
    assert [age.look(at_ms, 0) for at_ms in (0, 1000, 2000)] == [0, 0, 0]


def test_what_nobody_begins_grows_old_from_when_it_was_first_seen() -> None:
    age = WaitingAge()
    assert [age.look(at_ms, waiting) for at_ms, waiting in ((0, 0), (1000, 5), (3000, 7), (6000, 9))] == [
        0,
        0,
        2000,
        5000,
    ]


def test_a_queue_that_is_never_empty_and_moves_is_as_old_as_its_oldest_message() -> None:
    """Ten wait at each look, and ten are begun between two: each waits for one interval."""
    age = WaitingAge()
    ages: list[int] = []
    for step in range(20):
        age.note_begun("w", 10 * step)
        ages.append(age.look(1000 * step, 10))
    assert set(ages) == {0}


def test_a_worker_that_begins_again_at_nothing_is_another() -> None:
    age = WaitingAge()
    age.note_begun("w", 100)
    age.look(0, 3)
    age.forget("w")
    age.note_begun("w", 2)
    assert age.look(1000, 3) == 1000
    age.note_begun("w", 3)
    assert age.look(2000, 3) == 1000


@given(seed=st.integers(0, 100_000))
def test_it_is_the_age_of_the_oldest_to_within_one_look(seed: int) -> None:
    rng = random.Random(seed)
    queue: deque[int] = deque()
    age, begun = WaitingAge(), 0
    for look in range(200):
        now_ms = look * 1000
        # Between two looks messages come, and some of those that waited at the last are begun.
        for _ in range(min(len(queue), rng.choice((0, 1, 3, 8)))):
            queue.popleft()
            begun += 1
        queue.extend([now_ms] * rng.choice((0, 0, 1, 5)))
        age.note_begun("w", begun)
        reckoned = age.look(now_ms, len(queue))
        real = now_ms - queue[0] if queue else 0
        assert reckoned == real
