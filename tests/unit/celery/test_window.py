"""How many messages are at hand, while shapes of tasks wait for room."""

from mesolite.frameworks.celery.window import (
    HELD_UP_S,
    LEAST_LIMIT,
    MAX_AT_HAND,
    ShapeAtHand,
    messages_at_hand,
)

NOW_S = 100.0
LONG_AGO_S = NOW_S - HELD_UP_S


def shape(workers: int = 0, waiting: int = 0, *, since_s: float = LONG_AGO_S, is_placed: bool = False) -> ShapeAtHand:
    made = ShapeAtHand(workers, is_placed or workers > 0)
    for _ in range(waiting):
        made.waits_since(since_s)
    return made


def limit(*shapes: ShapeAtHand, most: int = 1_000) -> int:
    return messages_at_hand(shapes, most, NOW_S)


def test_a_few_are_at_hand_before_there_are_workers_and_no_more_while_those_begin() -> None:
    assert limit() == LEAST_LIMIT
    assert limit(shape(waiting=4, since_s=NOW_S - 1)) == LEAST_LIMIT


def test_there_are_as_many_as_the_workers_need_and_a_few_more_but_no_more_than_may_run() -> None:
    assert limit(shape(workers=40)) == 51
    assert limit(shape(workers=40), most=45) == 45


def test_tasks_that_wait_for_long_and_have_no_worker_do_not_stand_for_others() -> None:
    waiting = 4
    assert limit(shape(workers=8), shape(waiting=waiting)) >= limit(shape(workers=8)) + waiting
    assert limit(shape(workers=8), shape(waiting=waiting), most=8) >= 8 + waiting


def test_a_queue_full_of_them_is_passed_within_seconds() -> None:
    stuck, rounds = 4, 0
    while stuck < 300:
        stuck = limit(shape(waiting=stuck))
        rounds += 1
    assert rounds < 20


def test_those_that_wait_for_the_few_workers_of_their_shape_count_only_as_far_as_these_need_them() -> None:
    assert limit(shape(workers=8), shape(workers=1, waiting=300)) == 12 + 298


def test_one_shape_alone_never_has_more_at_hand_than_its_workers_need() -> None:
    """However long its tasks take: what is not counted leaves no more room than there was."""
    workers, waiting = 10, 3
    for _ in range(20):
        waiting = max(waiting, limit(shape(workers=workers, waiting=waiting)) - workers)
    assert waiting == 3


def test_all_that_is_at_hand_has_a_bound() -> None:
    assert limit(shape(waiting=9_000), shape(waiting=9_000)) == MAX_AT_HAND
