"""Offers in the driver: held, used, given back, and never used twice."""

import pytest
from msgspec.structs import replace

from mesolite.frameworks.driver.effects import DeliverOffers, DeliverRescinded, Refused
from mesolite.frameworks.driver.offers import OfferBook
from mesolite.frameworks.driver.settings import MAX_HELD_OFFERS
from mesolite.ids import AgentId, ExecutorId, OfferId, TaskId
from mesolite.protocol import Accept, Decline, Filters, Message, Offers, Rescind, Resubscribe, Revive, Suppress
from tests.unit.driver.workbench import Bench, accept, offer, task


def test_offers_are_delivered_and_held() -> None:
    bench = Bench().subscribed()
    offers = (offer("offer-1"), offer("offer-2"))
    assert bench.hear(Offers(offers)) == [DeliverOffers(offers=offers)]
    assert len(bench.core.offers) == 2


def test_offers_that_come_without_a_subscription_are_let_lapse() -> None:
    bench = Bench()
    bench.start()
    assert bench.hear(Offers((offer(),))) == []
    assert len(bench.core.offers) == 0


def test_accepting_uses_an_offer_up_and_remembers_the_tasks() -> None:
    bench = Bench().holding()
    wanted = accept(task("task-1"), task("task-2"))
    assert bench.want(wanted) == []
    assert bench.calls() == [wanted]
    assert len(bench.core.offers) == 0
    assert bench.core.tasks.unfinished() == ["task-1", "task-2"]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Accept(()), "at least one offer"),
        (accept(task(), offers=("offer-1", "offer-1")), "each offer once"),
        (accept(task(), offers=("offer-1", "elsewhere")), "one agent and one role"),
        (accept(task(), offers=("offer-1", "other-role")), "one agent and one role"),
        (accept(task("task-1"), task("task-1")), "id is never used twice"),
        (accept(task("running")), "id is never used twice"),
        (accept(task("task-1", agent="agent-7")), "is for agent agent-7, but the offers are of agent-1"),
    ],
)
def test_an_accept_that_makes_no_sense_is_refused_and_changes_nothing(wanted: Accept, reason: str) -> None:
    held = (offer("offer-1"), offer("elsewhere", agent="agent-2"), offer("other-role", role="ads"), offer("used"))
    bench = Bench().holding(*held)
    bench.want(accept(task("running"), offers=("used",)))
    bench.calls()
    [effect] = bench.want(wanted)
    assert isinstance(effect, Refused)
    assert reason in effect.reason
    assert bench.calls() == []
    assert len(bench.core.offers) == 3


def test_declining_gives_back_and_unknown_offers_are_ignored() -> None:
    bench = Bench().holding()
    decline = Decline((OfferId("offer-1"),), Filters(refuse_ms=100))
    bench.want(decline)
    bench.want(decline)
    assert bench.calls() == [decline]


def test_only_offers_that_are_held_are_reported_as_rescinded() -> None:
    bench = Bench().holding(offer("offer-1"), offer("offer-2"))
    bench.want(Decline((OfferId("offer-2"),)))
    effects = bench.hear(Rescind((OfferId("offer-1"), OfferId("offer-2"), OfferId("never"))))
    assert effects == [DeliverRescinded(offer_ids=(OfferId("offer-1"),))]


def test_the_number_of_offers_held_is_bounded() -> None:
    book = OfferBook()
    template = offer()
    assert book.receive([template] * 3) == ()
    many = [replace(template, offer_id=OfferId(f"offer-{number}")) for number in range(MAX_HELD_OFFERS + 2)]
    assert book.receive(many) == (OfferId("offer-1"), OfferId("offer-0"))
    assert len(book) == MAX_HELD_OFFERS


def test_suppress_and_revive_leave_as_they_are() -> None:
    bench = Bench().subscribed()
    bench.want(Suppress(("*",)))
    bench.want(Revive())
    assert bench.calls() == [Suppress(("*",)), Revive()]


def test_a_message_is_best_effort_and_not_kept_for_later() -> None:
    bench = Bench().subscribed()
    message = Message(AgentId("agent-1"), ExecutorId("executor-1"), b"hello")
    bench.want(message)
    assert bench.calls() == [message]
    bench.hear(Resubscribe())
    bench.calls()
    bench.want(message)
    assert bench.calls() == []


def test_a_task_id_may_be_used_again_only_after_its_refusal_never_while_it_lives() -> None:
    bench = Bench().holding(offer("offer-1"), offer("offer-2"))
    bench.want(accept(task("task-1")))
    [effect] = bench.want(accept(task("task-1"), offers=("offer-2",)))
    assert effect == Refused(reason=f"task id {TaskId('task-1')} is in use; an id is never used twice")
