"""What the book of owned messages says of each, from its arrival to its last word."""

import json
from typing import Any

import pytest

from mesolite.frameworks.celery.broker import book as book_module
from mesolite.frameworks.celery.broker.book import Arrival, Book
from mesolite.frameworks.celery.broker.records import RETURNS_HEADER, Returns, returns_of
from mesolite.frameworks.celery.broker.requests import Goes, Held, Life, Writes

LIFE = Life(3, "salt")


def raw_message(tag: str, **headers: Any) -> bytes:
    message = {"body": "", "headers": headers, "properties": {"delivery_tag": tag, "delivery_info": {}}}
    return json.dumps(message).encode()


def arrival(
    tag: str, *, at: int = 0, queue: str = "celery", state: str = "", headers: dict[str, Any] | None = None
) -> Arrival:
    raw = raw_message(tag, **(headers or {}))
    message = json.loads(raw)
    return Arrival(f"3.salt.1.{at}", queue, queue, raw, message, tag, returns_of(message, tag), state)


def holding(*arrivals: Arrival) -> Book:
    """A book that delivered these by channel 1."""
    book = Book(LIFE)
    book.arrived(arrivals)
    book.deliver({"celery", "other"}, 1, 100)
    return book


def written(book: Book) -> Writes:
    """All that it writes, as answered."""
    book.check()
    writes = book.batch()
    if writes is None:
        return Writes()
    book.written()
    assert book.batch() is None, "it is little"
    return writes


def test_a_message_that_is_acknowledged_and_was_not_given_is_forgotten() -> None:
    book = holding(arrival("t"))
    assert book.acknowledge("t")
    assert written(book) == Writes(ended=["3.salt.1.0"])
    assert len(book) == 0


@pytest.mark.parametrize("end_first", [True, False])
def test_a_message_that_was_given_is_forgotten_when_it_is_both_acknowledged_and_ended(end_first: bool) -> None:
    book = holding(arrival("t"))
    book.give("t")
    first, second = (book.end, book.acknowledge) if end_first else (book.acknowledge, book.end)
    assert not first("t")
    assert second("t")
    assert written(book).ended == ["3.salt.1.0"]


def test_an_early_acknowledgement_is_written_down_and_the_message_kept() -> None:
    book = holding(arrival("t"))
    book.give("t")
    assert written(book).states == [("3.salt.1.0", "gt")]
    book.acknowledge("t")
    assert written(book).states == [("3.salt.1.0", "at")]
    assert len(book) == 1


def test_a_later_life_knows_what_was_given_and_acknowledged_and_that_needs_only_its_end() -> None:
    book = holding(arrival("t", state="at"), arrival("u", at=1, state="gu"))
    owned = book.find("t")
    assert owned is not None
    assert owned.was_given
    assert owned.was_acknowledged
    assert book.end("t")
    assert not book.end("u")


def test_what_was_given_and_did_not_begin_is_as_before() -> None:
    book = holding(arrival("t"))
    book.give("t")
    written(book)
    book.take_back("t")
    assert written(book).states == [("3.salt.1.0", "")]
    assert book.acknowledge("t")


def test_what_did_not_begin_and_came_over_a_connection_that_was_lost_since_is_delivered_again() -> None:
    book = holding(arrival("t"))
    book.give("t")
    book.closed(1, lambda _: False)
    assert book.deliver({"celery"}, 2, 1) == []
    book.take_back("t")
    book.check()
    assert [owned.tag for owned in book.deliver({"celery"}, 2, 1)] == ["t"]


def test_a_message_goes_back_last_with_its_losses_counted_for_its_own_tag() -> None:
    book = holding(arrival("t"))
    book.give("t")
    assert book.return_("t", first=False)
    (going,) = written(book).going
    assert (going.item_id, going.key, going.first) == ("3.salt.1.0", "celery", False)
    message = json.loads(going.message)
    assert message["headers"] == {"redelivered": True, RETURNS_HEADER: ["t", 1, 1]}
    assert message["properties"]["delivery_info"] == {"redelivered": True}
    assert returns_of(message, "t") == Returns(1, 1)
    assert returns_of(message, "a retry of it") == Returns()


def test_a_message_whose_task_asked_for_it_goes_back_without_a_loss() -> None:
    book = holding(arrival("t", headers={RETURNS_HEADER: ["t", 2, 1]}))
    book.give("t")
    book.asked_back("t")
    book.return_("t", first=False)
    assert json.loads(written(book).going[0].message)["headers"][RETURNS_HEADER] == ["t", 3, 1]


def test_a_message_that_was_not_given_goes_back_without_being_counted() -> None:
    book = holding(arrival("t"))
    book.return_("t", first=False)
    assert RETURNS_HEADER not in json.loads(written(book).going[0].message)["headers"]


def test_a_message_that_went_back_may_arrive_again() -> None:
    book = holding(arrival("t"))
    book.return_("t", first=False)
    book.arrived([arrival("t", at=5)])
    assert [owned.item_id for owned in book.deliver({"celery"}, 1, 1)] == ["3.salt.1.5"]


def test_a_copy_of_a_message_that_is_owned_or_ended_is_forgotten_and_not_delivered() -> None:
    """Redis forgot, in a failover, that it was taken or that it ended."""
    book = holding(arrival("t"), arrival("u", at=1))
    book.acknowledge("u")
    written(book)
    book.arrived([arrival("t", at=7), arrival("u", at=8)])
    assert book.deliver({"celery"}, 1, 10) == []
    assert written(book).ended == ["3.salt.1.7", "3.salt.1.8"]


def test_one_message_in_two_queues_is_two_with_tags_that_differ_and_stay() -> None:
    book = Book(LIFE)
    book.arrived([arrival("t"), arrival("t", at=1, queue="other")])
    first, second = book.deliver({"celery", "other"}, 1, 2)
    assert first.tag == "t"
    assert second.tag not in {"t", ""}
    book.give(second.tag)
    state = dict(written(book).states)["3.salt.1.1"]
    later = Book(Life(4, "x"))
    later.arrived([arrival("t", at=1, queue="other", state=state)])
    assert [owned.tag for owned in later.deliver({"other"}, 1, 1)] == [second.tag]


def test_a_lost_connection_delivers_again_what_was_not_given_in_its_order_before_what_waits() -> None:
    book = Book(LIFE)
    book.arrived(arrival(tag, at=at) for at, tag in enumerate("abcd"))
    book.deliver({"celery"}, 1, 3)
    book.give("b")
    book.closed(1, lambda _: False)
    book.check()
    again = book.deliver({"celery"}, 2, 10)
    assert [(owned.tag, owned.redelivered) for owned in again] == [("a", True), ("c", True), ("d", False)]


def test_a_lost_connection_delivers_nothing_again_that_the_pool_holds() -> None:
    book = holding(arrival("a"), arrival("b", at=1))
    book.closed(1, {"a"}.__contains__)
    assert [owned.tag for owned in book.deliver({"celery"}, 2, 10)] == ["b"]


def test_what_an_earlier_life_gave_is_delivered_though_there_is_no_room() -> None:
    book = Book(LIFE)
    book.arrived([arrival("a", state="ga"), arrival("b", at=1, state="gb"), arrival("c", at=2)])
    assert [owned.tag for owned in book.deliver({"celery"}, 1, 0)] == ["a", "b"]
    assert [owned.tag for owned in book.deliver({"celery"}, 1, 1)] == ["c"]


def test_messages_wait_for_a_consumer_of_their_queue() -> None:
    book = Book(LIFE)
    book.arrived([arrival("a", queue="other"), arrival("b", at=1)])
    assert book.waiting({"celery"}) == 1
    assert [owned.tag for owned in book.deliver({"celery"}, 1, 9)] == ["b"]
    assert [owned.tag for owned in book.deliver({"other"}, 1, 9)] == ["a"]


def test_what_is_not_answered_is_written_again_and_the_newest_word_counts() -> None:
    book = holding(arrival("t"), arrival("u", at=1))
    book.give("t")
    book.give("u")
    assert book.batch() is not None
    book.acknowledge("t")
    book.end("t")
    assert book.batch() is not None
    book.reconnected()
    assert book.batch() == Writes(ended=["3.salt.1.0"], states=[("3.salt.1.1", "gu")])


def test_a_batch_has_a_limit_and_the_rest_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "_MAX_BATCH", 2)
    book = holding(*(arrival(tag, at=at) for at, tag in enumerate("abc")))
    for tag in "abc":
        book.acknowledge(tag)
    assert book.batch() == Writes(ended=["3.salt.1.0", "3.salt.1.1"])
    assert book.batch() == Writes(ended=["3.salt.1.2"])
    assert book.batch() is None


def test_what_redis_forgot_is_owned_again_and_what_the_book_does_not_know_is_a_stranger() -> None:
    book = holding(arrival("t"), arrival("u", at=1))
    book.give("u")
    stored = {"3.salt.1.1", "3.salt.12.0", "3.salt.2.1"}
    assert book.strangers(stored) == ["3.salt.2.1", "3.salt.12.0"]
    assert book.missing(stored) == [
        Held("3.salt.1.0", "celery", raw_message("t"), ""),
        Held("3.salt.1.1", "celery", raw_message("u"), "gu"),
    ]


def test_letting_go_returns_what_was_not_given_so_that_the_first_is_next() -> None:
    book = holding(*(arrival(tag, at=at) for at, tag in enumerate("abc")))
    book.give("b")
    assert book.let_go() == 2
    going = written(book).going
    assert [(item.item_id, item.first) for item in going] == [("3.salt.1.2", True), ("3.salt.1.0", True)]


def test_cancelling_a_consumer_returns_what_waits_for_it_unchanged() -> None:
    book = Book(LIFE)
    book.arrived([arrival("a"), arrival("b", at=1, queue="other")])
    assert book.let_go({"other"}) == 1
    assert written(book).going == [Goes("3.salt.1.1", "other", True, raw_message("b"))]


def test_what_is_set_aside_is_kept_for_people_and_its_copies_are_forgotten() -> None:
    book = holding(arrival("t"))
    assert book.set_aside("t", b"entry")
    assert written(book).aside == [("3.salt.1.0", b"entry")]
    book.arrived([arrival("t", at=3)])
    assert book.deliver({"celery"}, 1, 1) == []


def test_no_more_is_taken_where_messages_or_bytes_are_at_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    book = holding(arrival("t"))
    monkeypatch.setattr(book_module, "MAX_OWNED", 3)
    assert book.room() == 2
    monkeypatch.setattr(book_module, "MAX_OWNED_BYTES", 10)
    assert book.room() == 0


def test_words_on_messages_that_are_not_owned_say_nothing() -> None:
    book = holding()
    book.give("x")
    book.asked_back("x")
    book.take_back("x")
    said = [
        book.acknowledge("x"),
        book.end("x"),
        book.drop("x"),
        book.return_("x", first=True),
        book.set_aside("x", b""),
    ]
    assert said == [False] * 5
    assert written(book) == Writes()
