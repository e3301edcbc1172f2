"""Tasks and their updates: delivered once, acknowledged as often as asked, reconciled until answered."""

import itertools

import pytest

from mesolite.frameworks.driver.effects import DeliverUpdates
from mesolite.frameworks.driver.settings import (
    MAX_REMEMBERED_UPDATES,
    RECONCILE_BATCH,
    RECONCILE_RETRY_CAP_MS,
    RECONCILE_SPACING_MS,
    DriverSettings,
)
from mesolite.frameworks.driver.tasks import TaskLedger, Verdict
from mesolite.ids import AgentId, OfferId, TaskId
from mesolite.protocol import (
    TERMINAL_STATES,
    Acknowledge,
    Acknowledgement,
    HeartbeatEvent,
    Kill,
    Offers,
    Reason,
    Reconcile,
    ReconcileTask,
    Rescind,
    Resubscribe,
    Subscribed,
    TaskState,
    Update,
)
from tests.unit.driver.workbench import FRAMEWORK, INTERVAL_MS, Bench, accept, offer, status, task


def delivered(effects: list[object]) -> list[tuple[str, TaskState]]:
    """The words that reach the scheduler."""
    return [
        (each.task_id, each.state)
        for effect in effects
        if isinstance(effect, DeliverUpdates)
        for each in effect.statuses
    ]


def acknowledged(bench: Bench) -> list[bytes]:
    """The uuids acknowledged with this step."""
    return [each.uuid for call in bench.calls() if isinstance(call, Acknowledge) for each in call.acknowledgements]


def reconciled(bench: Bench, by_ms: int = 0) -> list[str]:
    """The tasks asked for with this step."""
    return [each.task_id for call in bench.calls(by_ms) if isinstance(call, Reconcile) for each in call.tasks]


def launched(*names: str, settings: DriverSettings | None = None) -> Bench:
    """Subscribed, with these tasks launched."""
    bench = Bench(settings).holding()
    bench.want(accept(*(task(name) for name in names)))
    bench.calls()
    return bench


def test_an_update_is_delivered_then_acknowledged_once_it_is_kept() -> None:
    bench = launched("task-1")
    running = status()
    assert delivered([*bench.hear(Update(running))]) == [("task-1", TaskState.RUNNING)]
    assert acknowledged(bench) == []
    bench.keep(running)
    assert bench.calls() == [Acknowledge((Acknowledgement(AgentId("agent-1"), TaskId("task-1"), b"u1"),))]


def test_updates_in_a_row_are_delivered_and_acknowledged_together() -> None:
    bench = launched("task-1", "task-2")
    first, second = status("task-1"), status("task-2", uuid=b"u2")
    effects = bench.hear(Update(first), Update(second))
    assert effects == [DeliverUpdates(statuses=(first, second))]
    bench.keep(first, second)
    assert acknowledged(bench) == [b"u1", b"u2"]


def test_other_events_keep_their_place_between_updates() -> None:
    bench = launched("task-1", "task-2")
    effects = bench.hear(Update(status("task-1")), Offers((offer("offer-2"),)), Update(status("task-2", uuid=b"u2")))
    assert [type(effect).__name__ for effect in effects] == ["DeliverUpdates", "DeliverOffers", "DeliverUpdates"]


def test_a_resent_update_is_acknowledged_again_and_not_delivered() -> None:
    bench = launched("task-1")
    bench.hear(Update(status()))
    bench.keep(status())
    bench.calls()
    assert bench.hear(Update(status())) == []
    assert acknowledged(bench) == [b"u1"]


def test_a_resent_final_update_is_acknowledged_again_and_not_delivered() -> None:
    bench = launched("task-1")
    final = status(state=TaskState.FINISHED)
    bench.hear(Update(final))
    bench.keep(final)
    bench.calls()
    assert len(bench.core.tasks) == 0
    assert bench.hear(Update(final)) == []
    assert acknowledged(bench) == [b"u1"]


def test_a_resent_update_that_the_scheduler_has_not_kept_yet_waits() -> None:
    bench = launched("task-1")
    bench.hear(Update(status()))
    assert bench.hear(Update(status())) == []
    assert acknowledged(bench) == []


def test_words_of_the_master_are_never_acknowledged() -> None:
    bench = launched("task-1")
    word = status(uuid=None)
    assert delivered([*bench.hear(Update(word))]) == [("task-1", TaskState.RUNNING)]
    bench.keep(word)
    assert acknowledged(bench) == []


def test_a_task_that_the_master_does_not_know_is_asked_for_again_and_its_kill_stands() -> None:
    """Its agent was forgotten with it. If that comes back without the task, only who asks hears that it is gone."""
    bench = launched("task-1", settings=DriverSettings(reconcile_interval_ms=60_000))
    bench.want(Kill(TaskId("task-1")))
    bench.calls()
    assert delivered([*bench.hear(Update(status(state=TaskState.UNKNOWN, uuid=None)))]) == [
        ("task-1", TaskState.UNKNOWN)
    ]
    bench.now_ms += 60_000
    bench.hear(HeartbeatEvent())
    calls = bench.calls()
    assert Kill(TaskId("task-1"), AgentId("agent-1")) in calls
    assert Reconcile((ReconcileTask(TaskId("task-1"), AgentId("agent-1")),)) in calls
    bench.hear(Update(status(state=TaskState.GONE, uuid=None)))
    assert len(bench.core.tasks) == 0


@pytest.mark.parametrize("state", [each for each in TaskState if each in TERMINAL_STATES])
def test_a_final_word_of_the_master_ends_the_task(state: TaskState) -> None:
    bench = launched("task-1")
    assert delivered([*bench.hear(Update(status(state=state, uuid=None)))]) == [("task-1", state)]
    assert len(bench.core.tasks) == 0


def test_the_master_repeating_itself_does_not_reopen_a_task_whose_end_is_not_acknowledged() -> None:
    bench = launched("task-1")
    bench.hear(Update(status(state=TaskState.FINISHED)))
    assert bench.hear(Update(status(state=TaskState.RUNNING, uuid=None))) == []
    assert bench.core.tasks.unfinished() == []


def test_an_unreachable_task_is_not_ended() -> None:
    bench = launched("task-1")
    bench.hear(Update(status(state=TaskState.UNREACHABLE, uuid=None)))
    assert bench.core.tasks.unfinished() == ["task-1"]


def test_a_task_of_an_earlier_session_is_taken_on_when_it_speaks() -> None:
    bench = Bench().subscribed()
    assert delivered([*bench.hear(Update(status("old")))]) == [("old", TaskState.RUNNING)]
    assert bench.core.tasks.unfinished() == ["old"]


def test_an_update_without_an_agent_is_delivered_and_cannot_be_acknowledged() -> None:
    bench = launched("task-1")
    odd = status(agent=None)
    assert delivered([*bench.hear(Update(odd))]) == [("task-1", TaskState.RUNNING)]
    bench.keep(odd)
    assert acknowledged(bench) == []


def test_acknowledgements_made_without_a_subscription_leave_with_the_next() -> None:
    bench = launched("task-1")
    bench.hear(Update(status()), Resubscribe())
    bench.keep(status())
    assert acknowledged(bench) == []
    bench.hear(Subscribed(FRAMEWORK.framework_id, INTERVAL_MS))
    assert acknowledged(bench) == [b"u1"]


@pytest.mark.parametrize("uuid", [b"u1", None], ids=["by its agent", "by the master"])
def test_what_the_master_says_of_a_task_that_has_ended_changes_nothing(uuid: bytes | None) -> None:
    """A question about the task crossed with its end: the master has forgotten it by then, and says that it is gone."""
    bench = launched("task-1")
    end = status(state=TaskState.ERROR, uuid=uuid)
    assert delivered([*bench.hear(Update(end))]) == [("task-1", TaskState.ERROR)]
    bench.keep(end)
    assert delivered([*bench.hear(Update(status(state=TaskState.GONE, uuid=None)))]) == []


def test_a_kill_of_a_task_that_had_ended_is_said_once() -> None:
    """It is answered by a word that is not delivered, because the end was; it must be forgotten nevertheless."""
    bench = launched("task-1")
    bench.hear(Update(status(state=TaskState.FINISHED)))
    bench.keep(status(state=TaskState.FINISHED))
    bench.want(Kill(TaskId("task-1")))
    assert Kill(TaskId("task-1")) in bench.calls()
    bench.hear(Update(status(state=TaskState.GONE, uuid=None)))
    bench.hear(Resubscribe())
    bench.hear(Subscribed(FRAMEWORK.framework_id, INTERVAL_MS))
    assert Kill(TaskId("task-1")) not in bench.calls()


def test_the_memory_of_ended_tasks_is_bounded() -> None:
    ledger = TaskLedger()
    for number in range(MAX_REMEMBERED_UPDATES + 10):
        word = status(f"task-{number}", TaskState.FINISHED, uuid=number.to_bytes(8))
        assert ledger.heard(word) is Verdict.DELIVER
        ledger.kept(word)
    ledger.check()
    newest = status(
        f"task-{MAX_REMEMBERED_UPDATES + 9}", TaskState.FINISHED, uuid=(MAX_REMEMBERED_UPDATES + 9).to_bytes(8)
    )
    oldest = status("task-0", TaskState.FINISHED, uuid=(0).to_bytes(8))
    assert ledger.heard(newest) is Verdict.ACKNOWLEDGE_AGAIN
    assert ledger.heard(oldest) is Verdict.DELIVER


def test_a_launch_whose_offer_was_rescinded_meanwhile_comes_back_dropped() -> None:
    bench = Bench().holding(offer("offer-1"), offer("offer-2"))
    bench.hear(Rescind((OfferId("offer-1"),)))
    effects = bench.want(accept(task(), offers=("offer-1", "offer-2")))
    assert delivered([*effects]) == [("task-1", TaskState.DROPPED)]
    [update] = effects
    assert isinstance(update, DeliverUpdates)
    assert update.statuses[0].reason is Reason.INVALID_OFFERS
    assert [type(call).__name__ for call in bench.calls()] == ["Decline"]


# Reconciliation


def test_a_new_subscription_asks_for_every_task_that_has_not_ended() -> None:
    bench = launched("task-1", "task-2", "task-3")
    bench.hear(Update(status("task-2", TaskState.KILLED, uuid=None)))
    bench.hear(Resubscribe())
    bench.hear(Subscribed(FRAMEWORK.framework_id, INTERVAL_MS))
    assert reconciled(bench) == ["task-1", "task-3"]


def test_tasks_known_from_before_are_asked_for_with_the_first_subscription() -> None:
    bench = Bench(known=[(TaskId("old"), AgentId("agent-9"))])
    bench.start()
    bench.hear(Subscribed(FRAMEWORK.framework_id, INTERVAL_MS))
    assert bench.calls() == [Reconcile((ReconcileTask(TaskId("old"), AgentId("agent-9")),))]


def test_a_hole_in_the_numbers_asks_for_every_task() -> None:
    bench = launched("task-1")
    bench.hear(HeartbeatEvent(), number=bench.number + 2)
    assert reconciled(bench) == ["task-1"]


def test_numbers_without_a_hole_ask_for_nothing() -> None:
    bench = launched("task-1")
    bench.hear(HeartbeatEvent())
    assert reconciled(bench) == []


def test_the_unanswered_are_asked_for_again_with_growing_pauses() -> None:
    bench = launched("task-1", "task-2")
    bench.hear(HeartbeatEvent(), number=bench.number + 2)
    assert reconciled(bench) == ["task-1", "task-2"]
    bench.hear(Update(status("task-1", uuid=None)))
    asked_at: list[int] = []
    while len(asked_at) < 8:
        due = bench.core.next_deadline_ms()
        assert due is not None
        bench.hear(HeartbeatEvent())
        if asked := reconciled(bench, due - bench.now_ms):
            assert asked == ["task-2"]
            asked_at.append(bench.now_ms)
    pauses = [after - before for before, after in itertools.pairwise(asked_at)]
    assert pauses == sorted(pauses)
    assert max(pauses) == RECONCILE_RETRY_CAP_MS
    bench.hear(Update(status("task-2", TaskState.GONE, uuid=None)))
    assert bench.core.reconciliation.unanswered == 0


def test_a_word_that_was_delivered_before_is_an_answer() -> None:
    """The master repeats it as it was while its agent waits for its acknowledgement, which the scheduler still owes."""
    bench = launched("task-1")
    bench.hear(Update(status("task-1")))
    bench.hear(HeartbeatEvent(), number=bench.number + 2)
    assert reconciled(bench) == ["task-1"]
    assert delivered([*bench.hear(Update(status("task-1")))]) == []
    assert bench.core.reconciliation.unanswered == 0


def test_many_tasks_are_asked_for_in_batches() -> None:
    names = [f"task-{number}" for number in range(2 * RECONCILE_BATCH + 1)]
    bench = launched(*names)
    bench.hear(HeartbeatEvent(), number=bench.number + 2)
    batches = [reconciled(bench), reconciled(bench, RECONCILE_SPACING_MS), reconciled(bench, RECONCILE_SPACING_MS)]
    assert [len(batch) for batch in batches] == [RECONCILE_BATCH, RECONCILE_BATCH, 1]
    assert [name for batch in batches for name in batch] == names


def test_all_tasks_are_asked_for_at_intervals() -> None:
    bench = launched("task-1", settings=DriverSettings(reconcile_interval_ms=20_000))
    bench.hear(HeartbeatEvent())
    assert reconciled(bench, 19_999) == []
    assert reconciled(bench, 1) == ["task-1"]


def test_an_interval_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="reconcile_interval_ms is 10"):
        DriverSettings(reconcile_interval_ms=10)


def test_the_scheduler_may_ask_for_tasks_until_they_are_answered() -> None:
    bench = Bench().subscribed()
    bench.want(Reconcile((ReconcileTask(TaskId("mine"), AgentId("agent-3")),)))
    assert bench.calls() == [Reconcile((ReconcileTask(TaskId("mine"), AgentId("agent-3")),))]
    bench.hear(Update(status("mine", TaskState.GONE, uuid=None)))
    assert bench.core.reconciliation.unanswered == 0


# Kills


def test_a_kill_names_the_agent_so_that_the_master_can_answer_for_a_task_it_does_not_know() -> None:
    bench = launched("task-1")
    bench.want(Kill(TaskId("task-1")))
    assert bench.calls() == [Kill(TaskId("task-1"), AgentId("agent-1"))]


def test_a_kill_is_said_again_until_the_task_has_ended() -> None:
    bench = launched("task-1")
    bench.want(Kill(TaskId("task-1")))
    bench.calls()

    def said_again() -> int:
        bench.hear(Resubscribe())
        bench.hear(Subscribed(FRAMEWORK.framework_id, INTERVAL_MS))
        return sum(isinstance(call, Kill) for call in bench.calls())

    assert said_again() == 1
    killed = status(state=TaskState.KILLED)
    bench.hear(Update(killed))
    assert said_again() == 0


def test_replaying_what_came_in_gives_the_same_out() -> None:
    """A core reads no clock and no chance of its own: two fed alike say alike."""

    def run() -> list[object]:
        bench = launched("task-1", "task-2")
        effects: list[object] = [*bench.hear(Update(status())), *bench.tick(7000)]
        bench.keep(status())
        effects += bench.batches()
        effects += bench.hear(Resubscribe())
        effects += bench.calls(2000)
        return effects

    assert run() == run()


def test_acknowledgements_may_wait_for_calls_to_ride_on() -> None:
    bench = Bench(DriverSettings(acknowledgement_delay_ms=5)).holding()
    bench.hear(Update(status("task-0", TaskState.FINISHED)))
    bench.keep(status("task-0", TaskState.FINISHED))
    assert bench.calls() == []
    assert bench.core.next_deadline_ms() == bench.now_ms + 5
    bench.want(accept(task()))
    assert [type(call).__name__ for call in bench.calls()] == ["Accept", "Acknowledge"]


def test_acknowledgements_that_wait_leave_by_themselves_in_time() -> None:
    bench = Bench(DriverSettings(acknowledgement_delay_ms=5)).subscribed()
    bench.hear(Update(status("task-0", TaskState.FINISHED)))
    bench.keep(status("task-0", TaskState.FINISHED))
    assert bench.calls() == []
    bench.now_ms += 4
    assert bench.calls() == []
    bench.now_ms += 1
    assert [type(call) for call in bench.calls()] == [Acknowledge]
    deadline_ms = bench.core.next_deadline_ms()
    assert deadline_ms is None or deadline_ms > bench.now_ms, "nothing waits any more"


def test_acknowledgements_that_wait_do_not_keep_a_broken_subscription_busy() -> None:
    bench = Bench(DriverSettings(acknowledgement_delay_ms=5)).subscribed()
    bench.hear(Update(status("task-0", TaskState.FINISHED)))
    bench.keep(status("task-0", TaskState.FINISHED))
    bench.calls()
    bench.hear(Resubscribe())
    bench.calls()
    bench.now_ms += 10
    bench.calls()
    deadline_ms = bench.core.next_deadline_ms()
    assert deadline_ms is not None
    assert deadline_ms > bench.now_ms


@pytest.mark.parametrize("delay_ms", [-1, 1001])
def test_acknowledgements_do_not_wait_for_ever(delay_ms: int) -> None:
    with pytest.raises(ValueError, match="acknowledgement_delay_ms"):
        DriverSettings(acknowledgement_delay_ms=delay_ms)
