"""Many agents come back to a new master at once: what they bring is booked in sums, and repeating themselves is cheap."""

from mesolite.ids import AgentId, FrameworkId, TaskId
from mesolite.master.settings import COMMAND_RESEND_MS
from mesolite.protocol import FrameworkInfo, Registered, TaskState
from mesolite.resources import Resources

from .world import World, listed, task


def info(name: str, *roles: str) -> FrameworkInfo:
    return FrameworkInfo(framework_id=FrameworkId(name), name=name, roles=roles or ("*",))


def test_what_an_agent_brings_is_charged_to_it_and_to_each_framework() -> None:
    world = World(epoch=2)
    tasks = (
        listed("f", task("a")),
        listed("f", task("b", resources="cpus:0.5;ports:[31000-31001]")),
        listed("g", task("c")),
        listed("g", task("over"), TaskState.FINISHED),
    )
    world.register("a1", "cpus:4;mem:4096;ports:[31000-31010]", tasks=tasks, frameworks=(info("f"), info("g", "eng")))
    agent = world.core.state.agents[AgentId("a1")]
    assert agent.used.unallocated() == Resources.parse("cpus:2.5;mem:128;ports:[31000-31001]")
    assert agent.used.allocation_roles() == {"*", "eng"}
    assert sorted(world.core.state.frameworks[FrameworkId("g")].tasks) == ["c", "over"]


def test_what_returning_tasks_use_is_not_offered() -> None:
    world = World(epoch=2)
    tasks = tuple(listed("f", task(name, resources="cpus:1.5;mem:64")) for name in "ab")
    world.register("a1", tasks=tasks, frameworks=(info("f"),))
    world.subscribe("g")
    assert Resources.of(world.offer("g").resources).unallocated() == Resources.parse("cpus:1;mem:3968")


def test_a_registration_that_is_repeated_before_its_answer_arrived_is_not_answered_again() -> None:
    """Agents that wait for a busy master repeat themselves; going through all of it again, it would never be done."""
    world = World()
    world.register("a1", tasks=(listed("f", task("t")),), frameworks=(info("f"),))
    world.tick(COMMAND_RESEND_MS - 1)
    world.register("a1", tasks=(listed("f", task("t")),), frameworks=(info("f"),))
    assert len(world.commanded("a1", Registered)) == 1
    assert list(world.core.state.frameworks[FrameworkId("f")].tasks) == [TaskId("t")]


def test_an_answer_that_got_lost_comes_again_in_its_time() -> None:
    world = World()
    world.register("a1")
    world.register("a1")
    world.tick(COMMAND_RESEND_MS)
    world.tick(1000)
    assert len(world.commanded("a1", Registered)) == 2


def test_an_agent_that_registers_anew_after_its_answer_arrived_is_taken_at_its_word() -> None:
    world = World()
    world.register("a1", tasks=(listed("f", task("t")),), frameworks=(info("f"),))
    world.register("a1", confirmed=1)
    assert len(world.commanded("a1", Registered)) == 2
    assert not world.core.state.frameworks[FrameworkId("f")].tasks


def test_the_next_life_of_an_agent_is_answered_though_the_former_never_heard() -> None:
    world = World()
    world.register("a1", session="s1")
    world.register("a1", session="s2")
    assert len(world.commanded("a1", Registered)) == 2
