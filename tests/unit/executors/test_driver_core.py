"""The executor driver's core: events in, effects out, on a clock that the test moves."""

from typing import Final

import pytest

from mesolite.executors.driver import outbox, tasks
from mesolite.executors.driver.core import MARGIN_MS, ExecutorCore, Phase
from mesolite.executors.driver.effects import (
    Connect,
    Exit,
    HangUp,
    Say,
    TellDisconnected,
    TellError,
    TellKill,
    TellLaunch,
    TellLaunchGroup,
    TellMessage,
    TellResized,
    TellShutdown,
    TellSubscribed,
)
from mesolite.executors.driver.events import (
    AgentBabbled,
    AgentSpoke,
    Connected,
    ConnectFailed,
    Disconnected,
    EndAsked,
    Event,
    MessageGiven,
    Started,
    TaskReported,
    TimePassed,
    TotalsCounted,
)
from mesolite.executors.driver.patience import MAX_FAULTS, RECOVERY_TIMEOUT_MS
from mesolite.executors.driver.protocol import (
    Error,
    Heard,
    Kill,
    Launch,
    LaunchGroup,
    Resized,
    Said,
    Shutdown,
    Subscribe,
    Task,
    Totals,
    Update,
)
from mesolite.executors.driver.states import ENDS, FOLLOWS, Reason, State
from tests.unit.executors.agent_end import WELCOME, AgentEnd

GRACE_MS: Final = 10_000


# Subscribing


def test_it_connects_at_once_and_says_subscribe_first() -> None:
    agent = AgentEnd()
    assert agent.start() == [Connect()]
    assert agent.accept() == Subscribe()
    assert agent.say(WELCOME) == [TellSubscribed(WELCOME)]


def test_a_fresh_executor_gives_up_when_no_agent_comes() -> None:
    agent = AgentEnd()
    agent.start()
    agent.refuse()
    while agent.exit is None:
        agent.skip()
        if agent.wants(Connect):
            agent.refuse()
    assert agent.exit.code == 1
    assert agent.now_ms == 1000 + RECOVERY_TIMEOUT_MS


def test_attempts_are_made_at_once_and_then_with_growing_waits() -> None:
    agent = AgentEnd().subscribed()
    agent.pass_time(60_000)
    assert Connect() in agent.hang_up()
    waits: list[int] = []
    for _ in range(9):
        agent.refuse()
        before_ms = agent.now_ms
        agent.skip()
        assert agent.wants(Connect)
        waits.append(agent.now_ms - before_ms)
    assert waits == [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000]


def test_a_subscription_that_did_not_stand_does_not_begin_anew_with_short_waits() -> None:
    """An agent that takes each connection and closes it again must not be asked a thousand times a second."""
    agent = AgentEnd().subscribed()
    attempts = 0
    begun_ms = agent.now_ms
    agent.hang_up()
    while agent.now_ms < begun_ms + 10_000:
        if agent.wants(Connect):
            attempts += 1
            agent.accept()
            agent.say(WELCOME)
            agent.hang_up()
        else:
            agent.skip()
    assert attempts <= 12


def test_it_is_told_when_the_agent_goes_and_when_it_comes_back() -> None:
    agent = AgentEnd().subscribed()
    assert TellDisconnected("closed") in agent.hang_up()
    agent.pass_time(2_000)
    agent.accept()
    assert agent.say(WELCOME) == [TellSubscribed(WELCOME)]


def test_the_time_without_an_agent_counts_from_the_last_subscription_not_from_the_last_connection() -> None:
    """An agent that takes connections and never says SUBSCRIBED is no agent."""
    agent = AgentEnd(ExecutorCore(recovery_timeout_ms=10_000)).subscribed()
    lost_ms = agent.now_ms
    agent.hang_up()
    while not agent.wants(Exit):
        agent.skip()
        if agent.wants(Connect):
            agent.accept()
            agent.hang_up()
    assert agent.now_ms == lost_ms + 10_000


def test_without_an_agent_for_too_long_tasks_are_ended_first() -> None:
    agent = AgentEnd(ExecutorCore(recovery_timeout_ms=10_000)).subscribed()
    agent.launch("t")
    agent.hang_up()
    agent.refuse()
    while not agent.wants(TellShutdown):
        agent.skip()
        if agent.wants(Connect):
            agent.refuse()
    assert not agent.wants(Exit)
    agent.report("t", State.KILLED)
    assert agent.wants(Exit) == [Exit(1, "no agent was there for too long")]


def test_another_version_of_the_protocol_is_said_clearly_and_ends_it() -> None:
    agent = AgentEnd()
    agent.start()
    agent.accept()
    agent.say(WELCOME._replace(version=2))
    assert agent.exit is not None
    assert agent.exit.code == 1
    assert "install the same version of mesolite on both sides" in agent.exit.why
    assert agent.wants(HangUp)


def test_a_socket_that_is_suddenly_another_containers_ends_it() -> None:
    agent = AgentEnd().subscribed()
    agent.hang_up()
    agent.pass_time(2_000)
    agent.accept()
    agent.say(WELCOME._replace(container_id="other"))
    assert agent.exit is not None
    assert "'other'" in agent.exit.why


# Words that cannot be taken


@pytest.mark.parametrize(
    "nonsense",
    [
        AgentBabbled(now_ms=1000, why="no JSON"),
        AgentSpoke(now_ms=1000, timestamp_ms=0, messages=(Error("what?"),)),
        AgentSpoke(now_ms=1000, timestamp_ms=0, messages=(WELCOME, WELCOME)),
        AgentSpoke(now_ms=1000, timestamp_ms=0, messages=(Launch(Task("t")),)),
        AgentSpoke(now_ms=1000, timestamp_ms=0, messages=(Shutdown(1),)),
    ],
)
def test_nonsense_is_told_hung_up_on_and_tried_again_a_few_times(nonsense: Event) -> None:
    agent = AgentEnd()
    agent.start()
    for attempt in range(1, MAX_FAULTS + 1):
        agent.accept()
        agent.apply(nonsense)
        assert len(agent.wants(TellError)) == 1
        assert len(agent.wants(HangUp)) == 1
        assert bool(agent.exit) == (attempt == MAX_FAULTS)
        if attempt < MAX_FAULTS and not agent.wants(Connect):
            agent.pass_time(2_000)
    assert agent.now_ms > 5_000, "it would have given up in no time"


def test_a_fault_after_a_long_good_time_is_the_first_one() -> None:
    agent = AgentEnd().subscribed()
    for _ in range(3 * MAX_FAULTS):
        agent.pass_time(60_000)
        agent.apply(AgentBabbled(now_ms=agent.now_ms, why="no JSON"))
        if not agent.wants(Connect):
            agent.pass_time(2_000)
        agent.accept()
        agent.say(WELCOME)
    assert agent.core.phase is Phase.SUBSCRIBED


def test_what_follows_nonsense_is_not_listened_to() -> None:
    agent = AgentEnd().subscribed()
    agent.say(Launch(Task("first")), Error("what?"), Launch(Task("second")))
    assert [effect.tasks for effect in agent.wants(TellLaunch)] == [(Task("first"),)]


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


# The end


def test_shutdown_without_tasks_ends_it_at_once() -> None:
    agent = AgentEnd().subscribed()
    agent.say(Shutdown(GRACE_MS))
    assert [type(effect) for effect in agent.effects] == [TellShutdown, Exit]
    assert agent.exit == Exit(0, "the agent says SHUTDOWN")


def test_shutdown_waits_for_tasks_and_for_their_last_words_to_be_on_disk() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    agent.say(Shutdown(GRACE_MS))
    assert agent.wants(TellShutdown) == [TellShutdown(GRACE_MS - MARGIN_MS, "the agent says SHUTDOWN")]
    agent.report("t", State.KILLED)
    [killed] = agent.updates()
    assert agent.exit is None
    agent.acknowledge(killed)
    assert agent.exit == Exit(0, "the agent says SHUTDOWN")


def test_shutdown_ends_before_the_grace_does_whatever_tasks_do() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    agent.say(Shutdown(GRACE_MS))
    assert agent.pass_time(GRACE_MS - MARGIN_MS - 1) == []
    assert agent.pass_time(1) == [Exit(0, "the agent says SHUTDOWN")]


def test_a_second_shutdown_may_shorten_the_grace_but_not_lengthen_it() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    agent.say(Shutdown(GRACE_MS))
    assert agent.say(Shutdown(10 * GRACE_MS), Shutdown(1000)) == []
    assert agent.pass_time(800) == [Exit(0, "the agent says SHUTDOWN")]


def test_while_it_ends_launches_are_dropped() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    agent.say(Shutdown(GRACE_MS), Launch(Task("u")), LaunchGroup((Task("v"), Task("w"))))
    assert not agent.wants(TellLaunch)
    assert not agent.wants(TellLaunchGroup)
    assert [(update.task_id, update.state, update.reason) for update in agent.updates()] == [
        (task_id, State.DROPPED, Reason.EXECUTOR_TERMINATED) for task_id in ("u", "v", "w")
    ]


def test_an_agent_that_dies_after_shutdown_still_hears_the_last_words() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    agent.say(Shutdown(GRACE_MS))
    agent.hang_up()
    agent.report("t", State.KILLED)
    agent.pass_time(100)
    [killed] = agent.accept().unacknowledged_updates
    agent.say(WELCOME)
    agent.acknowledge(killed)
    assert agent.exit is not None


def test_a_signal_ends_it_as_shutdown_does() -> None:
    agent = AgentEnd().subscribed()
    agent.launch("t")
    agent.apply(EndAsked(now_ms=agent.now_ms))
    assert agent.wants(TellShutdown)
    agent.report("t", State.KILLED)
    agent.acknowledge(*agent.updates())
    assert agent.exit is not None
    assert agent.exit.code == 0


# Every phase, every event


def in_phase(phase: Phase) -> AgentEnd:
    """An executor with a task that runs, as far as it goes, in a phase."""
    agent = AgentEnd()
    if phase is Phase.IDLE:
        return agent
    agent.subscribed().launch("t")
    match phase:
        case Phase.SUBSCRIBED:
            pass
        case Phase.SUBSCRIBING | Phase.CALLING | Phase.WAITING:
            agent.pass_time(2_000)
            agent.hang_up()
            if phase is Phase.WAITING:
                agent.refuse()
            elif phase is Phase.SUBSCRIBING:
                agent.accept()
        case Phase.OVER:
            agent.hang_up()
            agent.pass_time(2_000)
            agent.accept()
            agent.say(WELCOME._replace(version=9))
        case Phase.ENDED:
            agent.say(Shutdown(0))
            agent.pass_time(0)
    assert agent.core.phase is phase
    return agent


EVENTS: Final = (
    Started(now_ms=9_000),
    Connected(now_ms=9_000),
    ConnectFailed(now_ms=9_000, why=""),
    Disconnected(now_ms=9_000, why=""),
    AgentSpoke(now_ms=9_000, timestamp_ms=0, messages=(WELCOME,)),
    AgentSpoke(now_ms=9_000, timestamp_ms=0, messages=(Launch(Task("u")), Kill("t", 1), Kill("x", 1), Shutdown(10))),
    AgentBabbled(now_ms=9_000, why=""),
    TaskReported(now_ms=9_000, timestamp_ms=0, task_id="t", state=State.RUNNING),
    TaskReported(now_ms=9_000, timestamp_ms=0, task_id="t", state=State.FINISHED),
    MessageGiven(now_ms=9_000, data=b""),
    TotalsCounted(now_ms=9_000, totals=Totals()),
    EndAsked(now_ms=9_000),
    TimePassed(now_ms=9_000),
    TimePassed(now_ms=10**9),
)


@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.value)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_in_each_phase_each_event_is_taken_and_only_a_connection_is_spoken_on(phase: Phase, event: Event) -> None:
    agent = in_phase(phase)
    agent.apply(event)
    if phase not in {Phase.SUBSCRIBING, Phase.SUBSCRIBED} and not isinstance(event, Connected):
        assert not agent.wants(Say)
    if phase is Phase.ENDED:
        assert agent.effects == []
    assert len(agent.wants(Connect)) <= 1
    assert (agent.core.phase is Phase.CALLING) or not agent.wants(Connect)
