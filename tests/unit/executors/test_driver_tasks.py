"""The executor driver's core and its tasks: launches, updates, kills."""

import pytest

from mesolite.executors.driver import outbox, tasks
from mesolite.executors.driver.effects import (
    Say,
    TellKill,
    TellLaunch,
    TellLaunchGroup,
    TellMessage,
    TellResized,
    TellSubscribed,
)
from mesolite.executors.driver.events import (
    MessageGiven,
    TaskReported,
    TotalsCounted,
)
from mesolite.executors.driver.protocol import (
    Heard,
    Kill,
    Launch,
    LaunchGroup,
    Resized,
    Said,
    Subscribe,
    Task,
    Totals,
    Update,
)
from mesolite.executors.driver.states import ENDS, FOLLOWS, Reason, State
from tests.unit.executors.agent_end import WELCOME, AgentEnd

# Launching


def test_launches_that_come_together_are_handed_on_together_and_in_order_with_the_rest() -> None:
    agent = AgentEnd().subscribed()
    effects = agent.say(Launch(Task("a")), Launch(Task("b")), Kill("a", 1), Launch(Task("c")))
    assert effects == [TellLaunch((Task("a"), Task("b"))), TellKill("a", 1), TellLaunch((Task("c"),))]


def test_a_task_id_is_launched_once_before_and_after_its_end() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    assert agent.launch("t") == []
    agent.report("t", State.FINISHED)
    [end] = agent.updates()
    assert agent.launch("t") == [], "its end is on its way"
    agent.acknowledge(end)
    agent.launch("t")
    assert not agent.wants(TellLaunch)
    [again] = agent.updates()
    assert (again.task_id, again.state) == ("t", State.FINISHED)
    assert again.update_id != end.update_id


def test_a_task_id_is_launched_once_across_connections() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    assert agent.reconnect() == Subscribe(unacknowledged_tasks=("t",))
    assert agent.launch("t") == []


def test_a_group_is_launched_in_one_piece() -> None:
    agent = AgentEnd().subscribed()
    group = (Task("a"), Task("b"))
    assert agent.say(LaunchGroup(group)) == [TellLaunchGroup(group)]
    assert agent.say(LaunchGroup(group)) == []
    assert agent.core.tasks.unheard() == ("a", "b")


@pytest.mark.parametrize("group", [("new", "old"), ("new", "new")])
def test_a_group_that_cannot_be_launched_whole_is_not_launched_at_all(group: tuple[str, str]) -> None:
    agent = AgentEnd().subscribed()
    agent.launch("old")
    agent.say(LaunchGroup(tuple(Task(task_id) for task_id in group)))
    assert not agent.wants(TellLaunchGroup)
    assert [(update.task_id, update.state) for update in agent.updates()] == [("new", State.DROPPED)]


def test_more_tasks_than_it_can_account_for_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MAX_TASKS", 2)
    agent = AgentEnd().subscribed()
    agent.launch("a", "b", "c")
    assert [effect.tasks for effect in agent.wants(TellLaunch)] == [(Task("a"), Task("b"))]
    assert [(update.task_id, update.state) for update in agent.updates()] == [("c", State.DROPPED)]


def test_the_ids_of_unheard_tasks_fit_the_line_of_subscribe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MAX_UNHEARD_BYTES", 5_000)
    agent = AgentEnd().subscribed()
    agent.launch(*(f"{number}-{'x' * 200}" for number in range(100)))
    [taken] = [len(effect.tasks) for effect in agent.wants(TellLaunch)]
    assert {update.state for update in agent.updates()} == {State.DROPPED}
    assert len(agent.updates()) == 100 - taken
    said = agent.reconnect().unacknowledged_tasks
    assert len(said) == taken
    assert 4_000 < sum(len(task_id) + 3 for task_id in said) <= 5_000


def test_only_the_newest_ends_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MAX_REMEMBERED_ENDS", 2)
    agent = AgentEnd().subscribed()
    for task_id in ("a", "b", "c"):
        agent.launch(task_id)
        agent.report(task_id, State.FINISHED)
        agent.acknowledge(*agent.updates())
    assert [agent.core.tasks.end_of(task_id) for task_id in ("a", "b", "c")] == [None, State.FINISHED, State.FINISHED]


# Reporting


@pytest.mark.parametrize("before", FOLLOWS, ids=str)
@pytest.mark.parametrize("state", State, ids=str)
def test_a_task_goes_forward_only(before: State | None, state: State) -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    if before is not None:
        agent.report("t", before)
    agent.report("t", state)
    assert bool(agent.updates()) == (state in FOLLOWS[before])
    assert bool(agent.refused) == (state not in FOLLOWS[before])


@pytest.mark.parametrize("end", sorted(ENDS))
def test_nothing_follows_an_end_even_when_it_is_forgotten(end: State) -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    agent.report("t", end)
    agent.acknowledge(*agent.updates())
    agent.report("t", State.RUNNING)
    assert agent.refused == f"TASK_RUNNING cannot follow {end}"


def test_an_update_of_a_task_that_never_was_is_refused() -> None:
    agent = AgentEnd().subscribed()
    agent.report("t", State.RUNNING)
    assert agent.refused == "this executor has no such task"


def test_updates_are_said_on_each_connection_until_they_are_acknowledged() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t", "u")
    agent.report("t", State.RUNNING)
    [running] = agent.updates()
    agent.report("t", State.FINISHED, data=b"x")
    [finished] = agent.updates()
    assert agent.reconnect() == Subscribe(unacknowledged_tasks=("t", "u"), unacknowledged_updates=(running, finished))
    agent.acknowledge(running)
    assert agent.reconnect() == Subscribe(unacknowledged_tasks=("u",), unacknowledged_updates=(finished,))
    agent.acknowledge(finished)
    assert agent.reconnect() == Subscribe(unacknowledged_tasks=("u",))


def test_what_is_reported_while_the_agent_is_away_is_told_when_it_is_back() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    agent.hang_up()
    agent.report("t", State.FINISHED)
    assert not agent.wants(Say)
    agent.pass_time(2_000)
    assert [update.state for update in agent.accept().unacknowledged_updates] == [State.FINISHED]


def test_an_acknowledgement_of_something_else_changes_nothing() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t", "u")
    agent.report("t", State.RUNNING)
    [running] = agent.updates()
    agent.acknowledge(running._replace(task_id="u"), running._replace(update_id="999"))
    assert list(agent.core.outbox) == [running]


def test_updates_carry_everything_and_names_of_their_own() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    agent.apply(
        TaskReported(
            now_ms=1,
            timestamp_ms=2,
            task_id="t",
            state=State.FAILED,
            message="m",
            reason=Reason.CONTAINER_LIMITATION_MEMORY,
            data=b"d",
            healthy=False,
        )
    )
    assert agent.updates() == [Update("t", State.FAILED, "1", 2, "m", Reason.CONTAINER_LIMITATION_MEMORY, b"d", False)]


def test_no_more_than_a_window_of_updates_is_under_way() -> None:
    """A slow agent fills the outbox, in order; each acknowledgement lets the next ones go."""
    agent = AgentEnd().subscribed()
    names = [f"t{number}" for number in range(20)]
    agent.launch(*names)
    said: list[Update] = []
    for name in names:
        agent.report(name, State.FINISHED, data=b"x" * 2**20)
        said += agent.updates()
    assert 5 <= len(said) < 20
    while len(said) < 20:
        agent.acknowledge(said[-1])
        assert agent.updates(), "an acknowledgement makes room"
        said += agent.updates()
    assert [update.task_id for update in said] == names


def test_what_does_not_fit_the_line_of_subscribe_follows_it_in_order() -> None:
    agent = AgentEnd().subscribed()
    names = [f"t{number}" for number in range(5)]
    agent.launch(*names)
    agent.hang_up()
    for name in names:
        agent.report(name, State.FINISHED, data=b"x" * 2**20)
    agent.pass_time(2_000)
    subscribe = agent.accept()
    assert len(subscribe.unacknowledged_updates) == 2
    assert [update.task_id for update in subscribe.unacknowledged_updates + tuple(agent.updates())] == names


def test_an_update_larger_than_the_window_is_said_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WINDOW_BYTES", 10)
    agent = AgentEnd().subscribed()
    agent.launch("t", "u")
    agent.report("t", State.RUNNING)
    [running] = agent.updates()
    agent.report("u", State.RUNNING)
    assert agent.updates() == []
    agent.acknowledge(running)
    assert [update.task_id for update in agent.updates()] == ["u"]


def test_where_there_is_no_room_for_updates_only_ends_are_kept_and_a_result_that_is_lost_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "MAX_KEPT_BYTES", 1000)
    agent = AgentEnd().subscribed()
    agent.launch("t", "u", "v")
    agent.hang_up()
    agent.report("t", State.RUNNING, data=b"x" * 400)
    agent.report("u", State.RUNNING)
    assert "only ends are taken" in agent.refused
    agent.report("t", State.FINISHED, data=b"x" * 400)
    agent.report("u", State.FINISHED)
    agent.report("v", State.FAILED, data=b"x" * 400, message="boom")
    kept = list(agent.core.outbox)[1:]
    assert [(update.task_id, update.state, update.data) for update in kept] == [
        ("t", State.FAILED, b""),
        ("u", State.FINISHED, b""),
        ("v", State.FAILED, b""),
    ]
    assert "its data is lost" in kept[0].message


def test_messages_and_totals_are_said_to_whoever_listens_and_totals_again_on_each_connection() -> None:
    agent = AgentEnd()
    agent.start()
    assert agent.apply(MessageGiven(now_ms=1, data=b"m")) == []
    assert agent.apply(TotalsCounted(now_ms=1, totals=Totals(1))) == []
    agent.accept()
    assert agent.say(WELCOME) == [Say((Totals(1),)), TellSubscribed(WELCOME)]
    assert agent.apply(MessageGiven(now_ms=1, data=b"m")) == [Say((Said(b"m"),))]
    assert agent.apply(TotalsCounted(now_ms=1, totals=Totals(2))) == [Say((Totals(2),))]


def test_messages_and_new_limits_are_handed_on() -> None:
    agent = AgentEnd().subscribed()
    assert agent.say(Heard(b"m"), Resized(2.5, 128)) == [TellMessage(b"m"), TellResized(2.5, 128)]


# Killing


def test_a_kill_is_handed_on_and_again_only_with_less_grace() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    assert agent.say(Kill("t", 5_000)) == [TellKill("t", 5_000)]
    assert agent.say(Kill("t", 5_000)) == []
    agent.pass_time(1_000)
    assert agent.say(Kill("t", 4_500)) == []
    assert agent.say(Kill("t", 100)) == [TellKill("t", 100)]


@pytest.mark.parametrize(("grace_ms", "told_ms"), [(-5, 0), (10**15, 86_400_000)])
def test_a_grace_is_kept_within_reason(grace_ms: int, told_ms: int) -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    assert agent.say(Kill("t", grace_ms)) == [TellKill("t", told_ms)]


def test_a_kill_of_a_task_that_never_came_is_answered_and_the_task_is_not_launched_later() -> None:
    agent = AgentEnd().subscribed()
    agent.say(Kill("t", 1))
    [killed] = agent.updates()
    assert (killed.state, killed.reason) == (State.KILLED, Reason.TASK_KILLED_DURING_LAUNCH)
    assert killed.timestamp_ms == 7_000
    assert agent.launch("t") == []
    agent.acknowledge(killed)
    agent.launch("t")
    assert not agent.wants(TellLaunch)


def test_a_kill_of_a_task_that_ended_brings_its_end_where_that_is_not_on_its_way() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    agent.report("t", State.FINISHED)
    [end] = agent.updates()
    assert agent.say(Kill("t", 1)) == []
    agent.acknowledge(end)
    agent.say(Kill("t", 1))
    assert [update.state for update in agent.updates()] == [State.FINISHED]
