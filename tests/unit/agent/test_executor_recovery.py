"""A new life of the agent finds its executors: those that come back go on, and of the others every task has a last word."""

from mesolite.agent.effects import CloseLinks, OpenLinks
from mesolite.agent.executor import SLACK_CPUS_MILLI
from mesolite.agent.executor_lifecycle import ExecutorPhase
from mesolite.agent.settings import (
    EXECUTOR_REGISTRATION_TIMEOUT_MS,
    EXECUTOR_REREGISTRATION_TIMEOUT_MS,
    ExecutorPatience,
)
from mesolite.ids import ContainerId, ExecutorId, TaskId
from mesolite.protocol import (
    ExecutorKill,
    ExecutorLaunchGroup,
    ExecutorShutdown,
    Reason,
    ShutdownExecutor,
    ShutdownFramework,
    TaskState,
)

from .world import FRAMEWORK, World, executor_info, group, said, under

S = TaskState


def word(world: World, name: str) -> tuple[TaskState, Reason | None]:
    status = world.word(name)
    return status.state, status.reason


def test_an_executor_that_outlived_the_agent_is_waited_for_with_its_sockets_open() -> None:
    world = World()
    executor = world.subscribed("t")
    world.speak(executor, said("t", S.RUNNING))
    later = world.next_life(survivors=[executor.container_id])
    assert [effect.executors for effect in later.done(OpenLinks)] == [((executor.container_id, FRAMEWORK),)]
    assert later.kills() == []
    assert later.sizes() == [(600 + SLACK_CPUS_MILLI, 96)], "whether the last life had come to say it, nobody knows"
    assert [each.launched_by for each in later.registrations()[-1].executors] == ["t"]
    assert later.core.book.ledger.held["cpus"] == 600
    later.subscribe(later.executor())
    later.speak(later.executor(), said("t", S.FINISHED, data=b"42"))
    later.acknowledge_all("t")
    assert later.states("t") == [S.RUNNING, S.FINISHED]


def test_its_tasks_are_told_to_the_master_with_their_executor_and_without_their_data() -> None:
    world = World()
    executor = world.subscribed("t")
    world.command(under("u", data=b"x"))
    later = world.next_life(survivors=[executor.container_id])
    infos = [each.task for each in later.registrations()[-1].tasks]
    assert [(info.task_id, info.executor, info.data) for info in infos] == [
        ("t", executor_info(), b""),
        ("u", executor_info(), b""),
    ]


def test_an_executor_that_does_not_come_back_is_killed_and_its_tasks_are_gone() -> None:
    world = World()
    executor = world.subscribed("t")
    later = world.next_life(survivors=[executor.container_id])
    later.command(under("u"))
    later.tick(EXECUTOR_REREGISTRATION_TIMEOUT_MS)
    assert later.kills() == [(executor.container_id, 5000)]
    later.exited(executor.container_id, 137)
    assert word(later, "t") == (S.GONE, Reason.EXECUTOR_REREGISTRATION_TIMEOUT)
    assert word(later, "u") == (S.DROPPED, Reason.EXECUTOR_REREGISTRATION_TIMEOUT)


def test_an_operator_says_how_long_an_executor_may_take_to_come_back() -> None:
    world = World(patience=ExecutorPatience(reregistration_ms=2 * EXECUTOR_REREGISTRATION_TIMEOUT_MS))
    executor = world.subscribed("t")
    later = world.next_life(survivors=[executor.container_id])
    later.tick(2 * EXECUTOR_REREGISTRATION_TIMEOUT_MS - 1)
    assert later.kills() == []
    later.tick(1)
    assert later.kills() == [(executor.container_id, 5000)]


def test_what_arose_while_the_agent_was_away_is_taken_and_what_the_executor_never_heard_is_dropped() -> None:
    world = World()
    executor = world.subscribed("done", "heard", "lost", "spoken")
    world.speak(executor, said("spoken", S.RUNNING))
    later = world.next_life(survivors=[executor.container_id])
    later.subscribe(later.executor(), said("done", S.FINISHED), said("spoken", S.RUNNING), tasks=["heard"])
    assert word(later, "done") == (S.FINISHED, None)
    assert word(later, "lost") == (S.DROPPED, Reason.AGENT_RESTARTED)
    assert later.states("spoken") == [S.RUNNING], "it was on disk already"
    assert {key[1] for key in later.executor().tasks} == {"heard", "spoken"}
    assert later.told_tasks() == []


def test_tasks_that_waited_wait_on_and_groups_stay_groups() -> None:
    world = World()
    world.command(group("a", "b", launch=True), under("c"))
    executor = world.executor()
    later = world.next_life(survivors=[executor.container_id])
    assert later.executor().phase is ExecutorPhase.REGISTERING
    later.tick(EXECUTOR_REGISTRATION_TIMEOUT_MS - 1000)
    assert later.kills() == [], "it has the time of one that has just started"
    later.subscribe(later.executor())
    told = later.told()[1]
    assert isinstance(told, ExecutorLaunchGroup)
    assert later.told_tasks() == ["a", "b", "c"]


def test_kills_and_limits_go_on() -> None:
    world = World()
    executor = world.subscribed("t")
    world.command(under("u", limit_ms=3000))
    world.kill("t", 70)
    later = world.next_life(survivors=[executor.container_id])
    later.subscribe(later.executor(), tasks=["t", "u"])
    assert ExecutorKill(TaskId("t"), 70) in later.told()
    later.tick(2000)
    assert ExecutorKill(TaskId("u"), 3000) in later.told()


def test_an_executor_that_is_gone_takes_its_tasks_along() -> None:
    world = World()
    world.subscribed("t", "u")
    world.kill("u")
    later = world.next_life()
    assert word(later, "t") == (S.GONE, Reason.AGENT_RESTARTED)
    assert word(later, "u") == (S.KILLED, None)
    assert [each.launched_by for each in later.exits()] == ["t"]
    assert len(later.done(CloseLinks)) == 1
    assert later.core.book.ledger.held["cpus"] == 0


def test_tasks_of_an_executor_that_was_not_started_are_dropped() -> None:
    world = World()
    world.command(under("t", launch=True))
    later = world.next_life()
    assert word(later, "t") == (S.DROPPED, Reason.AGENT_RESTARTED)


def test_after_a_reboot_no_executor_is_there() -> None:
    world = World()
    executor = world.subscribed("t")
    later = world.next_life(survivors=[executor.container_id], boot_id="boot-2")
    assert word(later, "t") == (S.GONE, Reason.AGENT_RESTARTED)
    assert later.kills() == [(executor.container_id, 0)]


def test_an_end_that_nobody_has_entered_is_said_by_the_next_life_to_the_next_master() -> None:
    world = World()
    executor = world.subscribed("t")
    world.exited(executor.container_id, 3)
    world.acknowledge_all("t")
    later = world.next_life()
    (exit_,) = later.exits()
    assert (exit_.container_id, exit_.exit_code, exit_.launched_by) == (executor.container_id, 3, "t")
    assert later.registrations()[-1].executors == ()
    later.acknowledge_exits()
    assert later.next_life().exits() == []


def test_an_ended_task_keeps_its_executors_description_over_its_agents_death() -> None:
    world = World()
    executor = world.subscribed("t")
    world.exited(executor.container_id, 0)
    world.acknowledge_exits()
    later = world.next_life()
    assert later.registrations()[-1].tasks[0].task.executor == executor_info()
    later.acknowledge_all("t")
    assert later.core.executors.executors == {}


def test_a_shutdown_goes_on() -> None:
    world = World()
    executor = world.subscribed("t")
    world.command(ShutdownExecutor(FRAMEWORK, ExecutorId("e")))
    later = world.next_life(survivors=[executor.container_id])
    later.subscribe(later.executor(), tasks=["t"])
    assert ExecutorShutdown(5000) in later.told()
    later.tick(5000)
    assert later.kills() == [(executor.container_id, 0)]
    last = later.next_life(survivors=[executor.container_id])
    assert last.kills() == [(executor.container_id, 0)]
    last.exited(executor.container_id, 137)
    assert word(last, "t")[0] is S.KILLED


def test_a_framework_that_was_shut_down_stays_so() -> None:
    world = World()
    executor = world.subscribed("t")
    world.command(ShutdownFramework(FRAMEWORK))
    later = world.next_life(survivors=[executor.container_id])
    later.command(under("u"))
    assert word(later, "u") == (S.DROPPED, Reason.FRAMEWORK_REMOVED)


def test_the_containers_of_nobody_are_cleared_away_and_an_executors_is_not() -> None:
    world = World()
    executor = world.subscribed("t")
    later = world.next_life(survivors=[executor.container_id, ContainerId("stranger")])
    assert later.kills() == [("stranger", 0)]
