"""The subscription: its table, and what the core does about each line of it."""

import itertools

import pytest

from mesolite.frameworks.driver.effects import (
    DeliverDisconnected,
    DeliverError,
    DeliverRescinded,
    DeliverSubscribed,
    DeliverUpdates,
)
from mesolite.frameworks.driver.events import StoreReturned
from mesolite.frameworks.driver.settings import SUBSCRIBE_RETRY_CAP_MS, DriverSettings
from mesolite.frameworks.driver.subscription import TRANSITIONS, Backoff, Cause, FollowUp, Phase
from mesolite.ids import OfferId, TaskId
from mesolite.protocol import (
    Decline,
    Demand,
    ErrorEvent,
    Heartbeat,
    HeartbeatEvent,
    Kill,
    Offers,
    Reconcile,
    Rescind,
    Resubscribe,
    Revive,
    SetDemand,
    Subscribe,
    Subscribed,
    Suppress,
    TaskState,
    Teardown,
    Update,
)
from mesolite.resources import scalars
from tests.unit.driver.workbench import (
    FRAMEWORK,
    INTERVAL_MS,
    OTHER_SESSION,
    Bench,
    accept,
    offer,
    status,
    task,
)

CONFIRMATION = Subscribed(FRAMEWORK.framework_id, INTERVAL_MS)
#: Says the end, and asks whether it was heard.
ASKING = (Subscribe(FRAMEWORK), Teardown())


def kinds(effects: list[object]) -> list[type]:
    return [type(effect) for effect in effects]


def test_every_phase_has_a_line_for_every_cause() -> None:
    assert set(TRANSITIONS) == set(itertools.product(Phase, Cause))


def test_nothing_follows_the_end() -> None:
    after_the_end = {TRANSITIONS[Phase.ENDED, cause] for cause in Cause}
    assert after_the_end == {(Phase.ENDED, ())}


def test_every_way_into_subscribed_restates_what_is_wanted() -> None:
    into = [follow_ups for phase, follow_ups in TRANSITIONS.values() if phase is Phase.SUBSCRIBED and follow_ups]
    assert into
    assert all(FollowUp.RESTATE in follow_ups for follow_ups in into)


def test_leaving_subscribed_always_voids_the_offers() -> None:
    for (before, _), (after, follow_ups) in TRANSITIONS.items():
        if before is Phase.SUBSCRIBED and after is not Phase.SUBSCRIBED:
            assert FollowUp.FORGET_OFFERS in follow_ups or FollowUp.VOID in follow_ups


def test_backoff_doubles_up_to_its_cap_and_spreads() -> None:
    backoff = Backoff(1000, 5000)
    assert [backoff.take_ms() for _ in range(5)] == [1000, 2000, 4000, 5000, 5000]
    backoff.reset()
    assert backoff.take_ms(0.75) == 750


def test_it_subscribes_first_and_says_nothing_else_before_the_answer() -> None:
    bench = Bench()
    assert bench.start() == [Subscribe(FRAMEWORK)]
    bench.want(SetDemand(()))
    bench.want(Kill(TaskId("task-9")))
    assert bench.calls() == []


def test_subscribe_is_repeated_with_growing_pauses_until_the_answer() -> None:
    bench = Bench()
    bench.start()
    pauses: list[int] = []
    for _ in range(7):
        due = bench.core.next_deadline_ms()
        assert due is not None
        pauses.append(due - bench.now_ms)
        assert bench.calls(due - bench.now_ms - 1) == []
        assert bench.calls(1) == [Subscribe(FRAMEWORK)]
    assert pauses == [1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]
    assert pauses[-1] == SUBSCRIBE_RETRY_CAP_MS


def test_the_answer_is_told_and_ends_the_repetition() -> None:
    bench = Bench()
    bench.start()
    assert bench.hear(CONFIRMATION) == [DeliverSubscribed()]
    assert bench.core.phase is Phase.SUBSCRIBED
    assert bench.calls(INTERVAL_MS - 1) == []


def test_a_heartbeat_leaves_every_interval() -> None:
    bench = Bench().subscribed()
    for _ in range(3):
        bench.hear(HeartbeatEvent())
        assert bench.calls(INTERVAL_MS) == [Heartbeat()]


def test_an_absurd_interval_is_bounded() -> None:
    bench = Bench()
    bench.start()
    bench.hear(Subscribed(FRAMEWORK.framework_id, -1))
    due = bench.core.next_deadline_ms()
    assert due is not None
    assert due >= bench.now_ms + 100


@pytest.mark.parametrize("asked", [True, False], ids=["asked to", "master silent"])
def test_a_broken_subscription_voids_offers_and_subscribes_again(asked: bool) -> None:
    bench = Bench().holding()
    if asked:
        effects = bench.hear(Resubscribe())
    else:
        effects = bench.tick(5 * INTERVAL_MS)
    assert DeliverRescinded(offer_ids=(OfferId("offer-1"),)) in effects
    assert DeliverDisconnected() in effects
    assert bench.calls() == [Subscribe(FRAMEWORK)]


def test_any_word_from_the_master_postpones_the_suspicion() -> None:
    bench = Bench().subscribed()
    for _ in range(10):
        bench.tick(4 * INTERVAL_MS)
        bench.hear(HeartbeatEvent())
    assert bench.core.phase is Phase.SUBSCRIBED


def test_a_new_epoch_means_a_new_subscription() -> None:
    bench = Bench().holding()
    effects = bench.hear(HeartbeatEvent(), epoch=2)
    assert DeliverDisconnected() in effects
    assert bench.calls() == [Subscribe(FRAMEWORK)]


def test_a_new_epoch_that_begins_with_the_answer_needs_no_second_subscribe() -> None:
    """The new master took our SUBSCRIBE from the stream before it said anything else."""
    bench = Bench().subscribed()
    effects = bench.hear(CONFIRMATION, epoch=2)
    assert kinds([*effects]) == [DeliverDisconnected, DeliverSubscribed]
    assert bench.calls() == []


def test_a_new_epoch_while_subscribing_subscribes_at_once() -> None:
    bench = Bench()
    bench.start()
    bench.hear(HeartbeatEvent(), session=OTHER_SESSION)
    assert bench.calls() == []
    bench.hear(HeartbeatEvent(), session=OTHER_SESSION, epoch=2)
    assert bench.calls() == [Subscribe(FRAMEWORK)]


def test_words_of_an_old_master_change_nothing() -> None:
    bench = Bench().subscribed()
    bench.hear(CONFIRMATION, epoch=3)
    assert bench.hear(ErrorEvent("gone"), epoch=2) == []
    assert bench.core.phase is Phase.SUBSCRIBED


def test_a_batch_heard_twice_counts_once() -> None:
    bench = Bench().subscribed()
    assert bench.hear(ErrorEvent("gone"), number=bench.number) == []
    assert bench.core.phase is Phase.SUBSCRIBED


def test_an_error_ends_it() -> None:
    bench = Bench().holding()
    effects = bench.hear(ErrorEvent("no such role"))
    assert effects[-1] == DeliverError(message="no such role")
    assert bench.calls(60_000) == []
    assert bench.core.next_deadline_ms() is None
    assert bench.want(SetDemand(())) == []
    assert bench.calls() == []


def test_a_newer_session_ends_this_one_even_if_its_error_got_lost() -> None:
    bench = Bench().subscribed()
    effects = bench.hear(CONFIRMATION, session=OTHER_SESSION)
    assert kinds([*effects]) == [DeliverError]


def test_an_older_session_told_of_its_end_is_no_news_to_the_newer() -> None:
    bench = Bench().subscribed()
    assert bench.hear(ErrorEvent("superseded"), session=OTHER_SESSION) == []
    assert bench.core.phase is Phase.SUBSCRIBED


def test_batches_for_others_count_their_number() -> None:
    bench = Bench().subscribed()
    bench.hear(HeartbeatEvent(), session=OTHER_SESSION)
    assert bench.core.number == bench.number


def test_demand_suppression_and_kills_are_said_again_under_a_new_subscription() -> None:
    demand = Demand(role="*", shape=scalars(cpus=1).to_wire(), count=3)
    bench = Bench().holding()
    bench.want(SetDemand((demand,)))
    bench.want(Suppress(("*",)))
    bench.want(accept(task()))
    bench.want(Kill(TaskId("task-1")))
    bench.calls()
    bench.hear(Resubscribe())
    assert bench.calls() == [Subscribe(FRAMEWORK, suppressed_roles=("*",))]
    bench.hear(CONFIRMATION)
    calls = bench.calls()
    assert SetDemand((demand,)) in calls
    assert [call.task_id for call in calls if isinstance(call, Kill)] == ["task-1"]


def test_what_was_asked_for_between_subscriptions_is_said_with_the_next() -> None:
    bench = Bench()
    bench.start()
    bench.want(Revive(()))
    bench.want(Reconcile())
    bench.hear(CONFIRMATION)
    assert bench.calls() == [Revive(("*",)), Reconcile()]
    bench.hear(Resubscribe())
    bench.hear(CONFIRMATION)
    assert bench.calls() == []


def test_launches_that_have_not_left_when_the_subscription_breaks_are_dropped_at_once() -> None:
    bench = Bench().holding()
    bench.want(accept(task()))
    effects = bench.hear(Resubscribe())
    updates = [effect for effect in effects if isinstance(effect, DeliverUpdates)]
    assert [(each.task_id, each.state) for each in updates[0].statuses] == [("task-1", TaskState.DROPPED)]
    assert bench.calls() == [Subscribe(FRAMEWORK)]
    assert len(bench.core.tasks) == 0


def test_a_second_answer_takes_back_what_was_offered_before_it() -> None:
    """The master gives back all offers when it confirms a SUBSCRIBE that was sent twice, and does not rescind them."""
    bench = Bench().holding(offer("offer-1"), offer("offer-2"))
    effects = bench.hear(CONFIRMATION)
    assert effects == [DeliverRescinded(offer_ids=(OfferId("offer-1"), OfferId("offer-2")))]


def test_teardown_is_the_last_word_and_the_master_is_asked_whether_it_heard_it() -> None:
    """An ended framework's SUBSCRIBE is refused: that is the only confirmation there is, so one follows at once."""
    bench = Bench().holding()
    bench.want(Decline((OfferId("offer-1"),)))
    bench.want(Teardown())
    assert bench.calls() == [Teardown(), *ASKING]
    assert not bench.has_ended()
    assert bench.hear(ErrorEvent("Framework has been removed: torn down")) == [], "the scheduler wanted it"
    assert bench.has_ended()
    assert bench.calls(60_000) == []


def test_teardown_without_a_subscription_subscribes_first() -> None:
    bench = Bench()
    bench.start()
    bench.want(Teardown())
    assert bench.calls() == [*ASKING, *ASKING]


def test_a_teardown_that_a_failover_forgot_is_said_again_until_it_is_confirmed_or_nobody_has_patience() -> None:
    bench = Bench(DriverSettings(teardown_patience_ms=10_000)).subscribed()
    bench.want(Teardown())
    bench.calls()
    said_ms: list[int] = []
    began_ms = bench.now_ms
    while not bench.has_ended():
        due_ms = bench.core.next_deadline_ms()
        assert due_ms is not None
        if bench.calls(due_ms - bench.now_ms):
            said_ms.append(bench.now_ms - began_ms)
    assert said_ms == [250, 750, 1750, 3750, 5750, 7750, 9750]
    assert bench.now_ms - began_ms == 10_000


def test_whoever_leads_next_is_told_of_the_end_at_once() -> None:
    bench = Bench().subscribed()
    bench.want(Teardown())
    bench.calls()
    bench.hear(Resubscribe(), epoch=2)
    assert Teardown() in bench.calls()
    bench.hear(Subscribed(FRAMEWORK.framework_id, INTERVAL_MS))
    assert bench.calls() == []
    assert not bench.has_ended()


def test_when_redis_is_back_the_end_is_said_again_at_once() -> None:
    bench = Bench().subscribed()
    bench.want(Teardown())
    bench.calls()
    bench.apply(bench.core.apply(StoreReturned(now_ms=bench.now_ms)))
    assert Teardown() in bench.calls()


def test_a_framework_that_is_leaving_hears_and_says_nothing_else() -> None:
    bench = Bench().holding()
    bench.want(Teardown())
    bench.calls()
    assert bench.hear(Offers((offer("offer-2"),)), Update(status()), Rescind((OfferId("offer-1"),))) == []
    bench.want(Kill(TaskId("task-1")))
    bench.want(SetDemand(()))
    bench.want(Teardown())
    assert bench.calls() == []


def test_a_successor_ends_the_waiting() -> None:
    bench = Bench().subscribed()
    bench.want(Teardown())
    bench.hear(Subscribed(FRAMEWORK.framework_id, INTERVAL_MS), session=OTHER_SESSION)
    assert bench.has_ended()


def test_after_an_outage_of_redis_everything_is_said_and_asked_again() -> None:
    demand = Demand(role="*", shape=scalars(cpus=1).to_wire(), count=3)
    bench = Bench().holding()
    bench.want(SetDemand((demand,)))
    bench.want(accept(task()))
    bench.calls()
    bench.apply(bench.core.apply(StoreReturned(now_ms=bench.now_ms)))
    calls = bench.calls()
    assert SetDemand((demand,)) in calls
    assert [call.tasks[0].task_id for call in calls if isinstance(call, Reconcile)] == ["task-1"]


def test_after_an_outage_of_redis_no_offer_waits_for_an_answer_that_it_forgot() -> None:
    """An ACCEPT that was forgotten leaves its offers with a framework that has let go of them: a renewal takes them back."""
    bench = Bench().holding(offer("offer-1"), offer("offer-2"))
    bench.want(accept(task()))
    bench.calls()
    for _ in range(2):
        bench.apply(bench.core.apply(StoreReturned(now_ms=bench.now_ms)))
    assert bench.calls().count(Subscribe(FRAMEWORK)) == 1, "the shell's threads notice one outage each"
    assert bench.hear(CONFIRMATION) == [DeliverRescinded(offer_ids=(OfferId("offer-2"),))]
    assert not bench.has_ended()
    bench.tick(5000)
    bench.apply(bench.core.apply(StoreReturned(now_ms=bench.now_ms)))
    assert Subscribe(FRAMEWORK) in bench.calls(), "the next outage is another one"


def test_the_same_demand_is_news_after_an_accept_which_the_master_takes_off_it() -> None:
    """Who has more waiting than may be demanded wants the same again and again; unsaid, the master would not know."""
    bench = Bench().holding()
    want = SetDemand((Demand(role="*", shape=scalars(cpus=1).to_wire(), count=3),))
    bench.want(want)
    bench.calls()
    launch = accept(task())
    bench.want(launch)
    bench.want(want)
    assert bench.calls() == [launch, want], "in this order, or the master would take the launch off the new demand"
    bench.want(want)
    assert bench.calls() == []


def test_an_unchanged_demand_is_said_once() -> None:
    bench = Bench().subscribed()
    demand = Demand(role="*", shape=scalars(cpus=1).to_wire(), count=3)
    for _ in range(3):
        bench.want(SetDemand((demand,)))
    assert bench.calls() == [SetDemand((demand,))]
    bench.want(SetDemand((demand,)))
    assert bench.calls() == []
