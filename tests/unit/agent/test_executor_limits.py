"""The limits of an executor's container follow what its tasks hold: up at once, down after a while, and not for each task."""

from mesolite.agent.containerizer.contract import ContainerResizeFailed
from mesolite.agent.effects import Refusal, ResizeContainer, TellExecutor
from mesolite.agent.executor import SLACK_CPUS_MILLI
from mesolite.agent.settings import RESIZE_RETRY_MS, SHRINK_DELAY_MS
from mesolite.ids import ContainerId
from mesolite.protocol import ExecutorLaunch, ExecutorResized, TaskState

from .world import World, said, under

S = TaskState


def finish(world: World, *names: str) -> None:
    world.speak(world.executor(), *(said(name, S.FINISHED) for name in names))
    for name in names:
        world.acknowledge_all(name)


def test_limits_grow_before_the_task_that_needs_it_is_told() -> None:
    world = World()
    world.subscribed("t")
    world.clear()
    effects = world.command(under("u", "v"))
    acts = [effect for effect in effects if isinstance(effect, ResizeContainer | TellExecutor)]
    assert [type(effect) for effect in acts] == [ResizeContainer, TellExecutor], "once for both"
    assert world.sizes() == [(1600 + SLACK_CPUS_MILLI, 224)]
    resized, *launches = world.told()
    assert resized == ExecutorResized(1.6, 224)
    assert [type(event) for event in launches] == [ExecutorLaunch, ExecutorLaunch]


def test_a_container_that_is_still_starting_grows_too() -> None:
    world = World()
    world.command(under("t", launch=True))
    world.command(under("u"))
    assert world.sizes() == [(1100 + SLACK_CPUS_MILLI, 160)]
    assert world.told() == []


def test_limits_shrink_a_while_after_tasks_have_ended() -> None:
    world = World()
    world.subscribed("t", "u", "v")
    finish(world, "t", "u")
    world.tick(SHRINK_DELAY_MS - 1)
    assert world.sizes() == []
    world.tick(1)
    assert world.sizes() == [], "so much was needed at the beginning of the time that is looked back on"
    world.tick(SHRINK_DELAY_MS)
    assert world.sizes() == [(600 + SLACK_CPUS_MILLI, 96)]
    assert world.told()[-1] == ExecutorResized(0.6, 96)
    world.tick(10 * SHRINK_DELAY_MS)
    assert len(world.sizes()) == 1
    assert world.core.executors.next_due_ms is None or world.executor().resize_due_ms is None


def test_a_steady_stream_of_small_tasks_changes_no_limits() -> None:
    world = World()
    world.subscribed("t0", "t1")
    for number in range(2, 100):
        finish(world, f"t{number - 2}")
        world.tick(SHRINK_DELAY_MS // 7)
        world.command(under(f"t{number}"))
        world.hear_nothing_new()
    assert world.sizes() == []


def test_limits_that_cannot_be_set_are_set_again_later() -> None:
    world = World()
    executor = world.subscribed("t", "u")
    finish(world, "u")
    world.tick(SHRINK_DELAY_MS)
    world.tick(SHRINK_DELAY_MS)
    assert world.sizes() == [(600 + SLACK_CPUS_MILLI, 96)]
    world.news(ContainerResizeFailed(container_id=executor.container_id, message="90 MiB are in use"))
    assert world.refusals() == [Refusal.RESIZE_FAILED]
    world.tick(RESIZE_RETRY_MS)
    assert world.sizes() == [(600 + SLACK_CPUS_MILLI, 96)] * 2
    world.tick(RESIZE_RETRY_MS)
    assert len(world.sizes()) == 2


def test_a_failure_for_nobody_is_nothing() -> None:
    world = World()
    executor = world.subscribed("t")
    world.exited(executor.container_id, 0)
    for container_id in (executor.container_id, ContainerId("nobody")):
        world.news(ContainerResizeFailed(container_id=container_id, message="it is gone"))
    assert world.refusals() == [Refusal.UNKNOWN_CONTAINER] * 2


def test_memory_that_nobody_states_leaves_the_least_there_is() -> None:
    world = World()
    world.command(under("t", launch=True, mem=0))
    (spec,) = world.launched_executors()
    assert spec.mem_mib == 32
