"""The executor driver's core and its agent: subscribing, trouble, the end; on a clock that the test moves."""

from typing import Final

import pytest

from mesolite.executors.driver.core import MARGIN_MS, ExecutorCore, Phase
from mesolite.executors.driver.effects import (
    Connect,
    Exit,
    HangUp,
    Say,
    TellDisconnected,
    TellError,
    TellLaunch,
    TellLaunchGroup,
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
    Kill,
    Launch,
    LaunchGroup,
    Shutdown,
    Subscribe,
    Task,
    Totals,
)
from mesolite.executors.driver.states import Reason, State
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
