"""What the operator API shows of tasks: where their output is, and under which executor."""

from collections.abc import Mapping

from mesolite.master import views
from mesolite.protocol import TaskState

from .world import World, executor, inside, task


def sandboxes(world: World, query: Mapping[str, str] | None = None) -> dict[str, str]:
    """The sandbox of each task."""
    return {row.task_id: row.sandbox for row in views.tasks(world.core, {"all": "1", **(query or {})})}


def test_a_task_with_a_command_has_its_own_sandbox_and_one_under_an_executor_that_of_the_executor() -> None:
    """Goal: in the life that the task ran in, once it is known. Method: one task whose container was told, and one not yet."""
    world = World()
    world.subscribe("f")
    world.register("a1")
    world.launch("f", world.offer("f"), task("alone"), inside("told"), inside("waits"))
    world.update("a1", "f", "told", TaskState.RUNNING, confirmed=3, container="c7")
    assert sandboxes(world) == {"alone": "/f/alone/latest", "told": "/f/x/c7", "waits": "/f/x/latest"}
    world.update("a1", "f", "told", TaskState.FINISHED, uuid=b"v" * 16, container="c7")
    assert sandboxes(world)["told"] == "/f/x/c7"


def test_tasks_are_chosen_by_their_executor() -> None:
    world = World()
    world.subscribe("f")
    world.register("a1")
    other = inside("other", within=executor("y"))
    world.launch("f", world.offer("f"), task("alone"), inside("t"), other)
    assert set(sandboxes(world, {"executor_id": "x"})) == {"t"}
    assert [row.executor_id for row in views.tasks(world.core, {"executor_id": "y"})] == ["y"]
