"""What a dispatcher remembers of messages that belong to the broker."""

from mesolite.frameworks.celery.broker.plain import PlainOwnership


def test_what_is_given_again_because_no_worker_wanted_it_is_no_loss() -> None:
    ownership = PlainOwnership()
    ownership.give(["a"])
    ownership.give(["a"])
    ownership.end("a")
    assert ownership.losses("a") == ownership.returns("a") == 1


def test_each_time_that_it_comes_back_is_a_loss_unless_its_task_asked_for_it() -> None:
    ownership = PlainOwnership()
    for _ in range(3):
        ownership.give(["a"])
        ownership.end("a")
    ownership.asked_back("a")
    assert (ownership.returns("a"), ownership.losses("a")) == (3, 2)


def test_what_is_taken_back_was_not_given() -> None:
    ownership = PlainOwnership()
    ownership.give(["a"])
    ownership.take_back("a")
    ownership.take_back("a")
    assert ownership.returns("a") == 0


def test_the_last_word_is_remembered_until_the_message_is_given_anew() -> None:
    ownership = PlainOwnership()
    ownership.give(["a"])
    ownership.over("a")
    ownership.end("a")
    assert ownership.is_over("a")
    assert not ownership.is_over("b")
    ownership.give(["a"])
    assert not ownership.is_over("a")
