"""How executors connect, come back and stay away, and messages between them and their frameworks."""

from mesolite.agent.effects import HangUp, Refusal
from mesolite.agent.executor_lifecycle import ExecutorPhase
from mesolite.agent.settings import EXECUTOR_RETURN_TIMEOUT_MS
from mesolite.ids import ExecutorId, TaskId
from mesolite.protocol import (
    AgentMessage,
    ExecutorError,
    ExecutorHeard,
    ExecutorHeartbeat,
    ExecutorKill,
    ExecutorMessage,
    ExecutorSaid,
    Reason,
    TaskState,
)

from .world import FRAMEWORK, World, said, under

S = TaskState
E = ExecutorId("e")


def last(world: World, name: str) -> tuple[TaskState, Reason | None]:
    status = world.word(name)
    return status.state, status.reason


def test_an_executor_that_hangs_up_may_come_back_and_is_told_what_it_missed() -> None:
    world = World()
    executor = world.subscribed("t")
    world.speak(executor, said("t", S.RUNNING))
    world.hang_up(executor)
    world.command(under("u"))
    world.kill("t", 100)
    assert world.told_tasks() == ["t"]
    world.tick(EXECUTOR_RETURN_TIMEOUT_MS - 1)
    world.subscribe(executor)
    assert world.told_tasks() == ["t", "u"]
    assert [event for event in world.told() if isinstance(event, ExecutorKill)] == [ExecutorKill(TaskId("t"), 100)]
    world.tick(EXECUTOR_RETURN_TIMEOUT_MS)
    assert world.kills() == []


def test_an_executor_that_stays_away_is_killed_and_its_tasks_are_gone() -> None:
    world = World()
    executor = world.subscribed("t")
    world.hang_up(executor)
    world.command(under("u"))
    world.tick(EXECUTOR_RETURN_TIMEOUT_MS)
    assert world.kills() == [(executor.container_id, 5000)]
    world.exited(executor.container_id, 143)
    assert last(world, "t") == (S.GONE, Reason.EXECUTOR_REREGISTRATION_TIMEOUT)
    assert last(world, "u") == (S.DROPPED, Reason.EXECUTOR_REREGISTRATION_TIMEOUT)


def test_what_was_told_and_did_not_arrive_is_dropped_and_never_told_again() -> None:
    world = World()
    executor = world.subscribed("heard", "lost", "spoken")
    world.speak(executor, said("spoken", S.RUNNING))
    world.subscribe(executor, tasks=["heard"])
    assert last(world, "lost") == (S.DROPPED, Reason.AGENT_RESTARTED)
    assert world.told_tasks() == ["heard", "lost", "spoken"]
    assert {key[1] for key in executor.tasks} == {"heard", "spoken"}


def test_a_task_that_an_executor_lists_and_nobody_knows_is_ended() -> None:
    world = World()
    executor = world.subscribed("t")
    world.subscribe(executor, tasks=["t", "stranger"])
    assert ExecutorKill(TaskId("stranger"), 0) in world.told()


def test_an_older_connection_is_not_listened_to_and_its_end_means_nothing() -> None:
    world = World()
    executor = world.subscribed("t")
    world.subscribe(executor, tasks=["t"])
    world.speak(executor, said("t", S.FINISHED), connection=1)
    world.hang_up(executor, connection=1)
    assert world.states("t") == []
    assert (executor.connected, executor.phase) == (True, ExecutorPhase.RUNNING)


def test_what_is_no_subscription_makes_no_connection() -> None:
    world = World()
    world.command(under("t", launch=True))
    executor = world.executor()
    world.speak(executor, said("t", S.RUNNING), connection=7)
    world.subscribe(executor, version=9)
    assert [type(event) for event in world.told()] == [ExecutorError, ExecutorError]
    assert [effect.connection for effect in world.done(HangUp)] == [7, world.connection]
    assert not executor.connected
    assert world.refusals() == [Refusal.EXECUTOR_FAULT] * 2


def test_somebody_in_a_container_that_has_no_executor_is_hung_up_on() -> None:
    world = World()
    executor = world.subscribed("t")
    world.exited(executor.container_id, 0)
    world.subscribe(executor)
    world.hang_up(executor)
    assert [effect.container_id for effect in world.done(HangUp)] == [executor.container_id]
    assert world.refusals()[-2:] == [Refusal.UNKNOWN_EXECUTOR] * 2


def test_what_a_link_says_of_an_executors_fault_is_noted() -> None:
    world = World()
    executor = world.subscribed("t")
    world.hang_up(executor, fault="a line of 9 MiB")
    assert (world.refusals(), executor.phase) == ([Refusal.EXECUTOR_FAULT], ExecutorPhase.REREGISTERING)


# -- messages


def test_messages_go_both_ways_while_somebody_listens() -> None:
    world = World()
    executor = world.subscribed("t")
    world.command(ExecutorMessage(FRAMEWORK, E, b"hello"))
    assert world.told()[-1] == ExecutorHeard(b"hello")
    world.speak(executor, ExecutorSaid(b"hi"), ExecutorHeartbeat())
    assert world.reports()[-1] == AgentMessage(FRAMEWORK, E, b"hi")
    world.core.book.reporting = False
    world.clear()
    world.speak(executor, ExecutorSaid(b"hi"))
    world.hang_up(executor)
    world.core.book.reporting = True
    world.command(ExecutorMessage(FRAMEWORK, E, b"hello"))
    assert (world.told(), world.refusals()) == ([], [Refusal.UNHEARD_MESSAGE] * 2)


def test_a_message_that_is_too_large_is_not_taken_from_anybody() -> None:
    world = World()
    executor = world.subscribed("t")
    large = b"x" * (1024 * 1024 + 1)
    world.clear()
    world.command(ExecutorMessage(FRAMEWORK, E, large))
    assert (world.told(), world.refusals()) == ([], [Refusal.UNHEARD_MESSAGE])
    world.speak(executor, ExecutorSaid(large))
    assert [type(event) for event in world.told()] == [ExecutorError]
    assert executor.phase is ExecutorPhase.REREGISTERING
