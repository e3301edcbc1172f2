"""Whatever a peer sends that can be decoded, the agent's core takes: it never raises, and its invariants hold.

Method: commands built from the most inconvenient values that the wire can carry, sent through the codec, in batches with
inconvenient headers, mixed with news of containers that may or may not exist, and with words of executors that may or may not.
"""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mesolite.agent.containerizer.contract import (
    ContainerEvent,
    ContainerExited,
    ContainerLaunchFailed,
    ContainerPreparing,
    ContainerResizeFailed,
    ContainerStarted,
)
from mesolite.agent.events import CommandsArrived, ExecutorsReported, TaskEndRequested
from mesolite.agent.executor_links.contract import ExecutorHungUp, ExecutorSpoke, LinkEvent
from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, SessionId, TaskId
from mesolite.protocol import (
    AcknowledgeExecutors,
    AcknowledgeStatuses,
    Command,
    CommandBatch,
    CommandInfo,
    ContainerInfo,
    ExecutorAcknowledgement,
    ExecutorCall,
    ExecutorHeartbeat,
    ExecutorInfo,
    ExecutorMessage,
    ExecutorSaid,
    ExecutorSubscribe,
    ExecutorTotals,
    ExecutorUpdate,
    FrameworkInfo,
    KillPolicy,
    KillTask,
    Reason,
    Registered,
    Reregister,
    RunTask,
    RunTaskGroup,
    RunTasks,
    ShutdownAgent,
    ShutdownExecutor,
    ShutdownFramework,
    StatusAcknowledgement,
    TaskInfo,
    TaskState,
    Uri,
    decode_commands,
    encode,
)
from mesolite.resources import Range, Resource, ResourceType
from tests.unit.agent.world import AGENT, World, executor_info

INTEGERS = st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 1000, 2**31, 2**63 - 1])
TEXTS = st.sampled_from(["", ".", "..", "/", "a", "b", "a\0", "\n", "é", "x" * 300, "a=b", "*"])
NAMES = st.one_of(st.sampled_from(["a", "b", "f"]), TEXTS)
RESOURCES = st.builds(
    Resource,
    name=st.sampled_from(["cpus", "mem", "ports", "gpus", "", "x" * 300]),
    type=st.sampled_from(ResourceType),
    scalar=st.one_of(st.none(), INTEGERS),
    ranges=st.one_of(
        st.none(), st.lists(st.builds(Range, st.integers(-5, 5), st.integers(-5, 2**63)), max_size=3).map(tuple)
    ),
    set=st.one_of(st.none(), st.lists(TEXTS, max_size=3).map(tuple)),
    allocation_role=st.one_of(st.none(), TEXTS),
    revocable=st.booleans(),
    shared=st.booleans(),
)
COMMAND_INFOS = st.builds(
    CommandInfo,
    value=st.one_of(st.none(), TEXTS),
    shell=st.booleans(),
    arguments=st.lists(TEXTS, max_size=2).map(tuple),
    environment=st.dictionaries(TEXTS, TEXTS, max_size=2),
    uris=st.lists(st.builds(Uri, TEXTS), max_size=1).map(tuple),
    user=st.one_of(st.none(), TEXTS),
)
SCALARS = st.builds(
    Resource, name=st.sampled_from(["cpus", "mem"]), type=st.just(ResourceType.SCALAR), scalar=st.integers(0, 5000)
)
EXECUTORS = st.one_of(
    st.just(executor_info("a")),
    st.just(executor_info("a")),
    st.builds(
        ExecutorInfo,
        executor_id=TEXTS.map(ExecutorId),
        command=COMMAND_INFOS,
        resources=st.lists(RESOURCES, max_size=2).map(tuple),
        shutdown_grace_period_ms=INTEGERS,
        data=st.binary(max_size=3),
    ),
)
TASKS = st.builds(
    TaskInfo,
    task_id=NAMES.map(TaskId),
    agent_id=st.sampled_from([AGENT, AGENT, AGENT, AgentId("other")]),
    resources=st.one_of(st.lists(SCALARS, max_size=2), st.lists(RESOURCES, max_size=3)).map(tuple),
    command=st.one_of(st.none(), st.just(CommandInfo(value="true")), COMMAND_INFOS),
    executor=st.one_of(st.none(), st.none(), EXECUTORS),
    container=st.one_of(st.none(), st.builds(ContainerInfo, image=st.one_of(st.none(), TEXTS))),
    kill_policy=st.one_of(st.none(), st.builds(KillPolicy, INTEGERS)),
    max_completion_time_ms=st.one_of(st.none(), INTEGERS),
    data=st.binary(max_size=3),
)
#: As those of RUN_TASKS and RUN_TASK_GROUP should come: without a command of their own.
EXECUTORS_TASKS = st.builds(
    TaskInfo,
    task_id=NAMES.map(TaskId),
    agent_id=st.just(AGENT),
    resources=st.lists(SCALARS, max_size=2).map(tuple),
    kill_policy=st.one_of(st.none(), st.builds(KillPolicy, INTEGERS)),
    max_completion_time_ms=st.one_of(st.none(), INTEGERS),
    data=st.binary(max_size=3),
)
FRAMEWORKS = NAMES.map(FrameworkId)
INFOS = st.builds(FrameworkInfo, framework_id=FRAMEWORKS, name=TEXTS)
TASK_LISTS = st.lists(st.one_of(EXECUTORS_TASKS, EXECUTORS_TASKS, TASKS), max_size=3).map(tuple)
#: As large as the codec lets through.
TIMES = st.sampled_from([0, 1, 1000, 2**63 - 1])
UPDATES = st.builds(
    ExecutorUpdate,
    task_id=NAMES.map(TaskId),
    state=st.sampled_from(TaskState),
    update_id=st.sampled_from(["u1", "u2", "u3", "", "x" * 65, "\0"]),
    timestamp_ms=TIMES,
    message=TEXTS,
    reason=st.one_of(st.none(), st.sampled_from(Reason)),
    data=st.binary(max_size=3),
    healthy=st.one_of(st.none(), st.booleans()),
)
SUBSCRIPTIONS = st.builds(
    ExecutorSubscribe,
    version=st.sampled_from([1, 1, 1, 0, 2, 2**63 - 1]),
    unacknowledged_tasks=st.lists(NAMES.map(TaskId), max_size=3).map(tuple),
    unacknowledged_updates=st.lists(UPDATES, max_size=2).map(tuple),
)
CALLS: st.SearchStrategy[ExecutorCall] = st.one_of(
    UPDATES,
    UPDATES,
    SUBSCRIPTIONS,
    st.builds(ExecutorSaid, st.binary(max_size=3)),
    st.builds(ExecutorTotals, TIMES, TIMES, TIMES),
    st.just(ExecutorHeartbeat()),
)
#: What is said on which connection, or that it is over.
WORDS = st.tuples(st.integers(0, 4), st.one_of(st.none(), st.lists(CALLS, max_size=3)))
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.builds(RunTask, INFOS, TASKS, st.booleans()),
    st.builds(RunTask, INFOS, TASKS, st.booleans()),
    st.builds(RunTasks, INFOS, EXECUTORS, TASK_LISTS, st.booleans()),
    st.builds(RunTasks, INFOS, st.just(executor_info("a")), TASK_LISTS, st.just(True)),
    st.builds(RunTaskGroup, INFOS, EXECUTORS, TASK_LISTS, st.booleans()),
    st.builds(KillTask, FRAMEWORKS, NAMES.map(TaskId), st.one_of(st.none(), st.builds(KillPolicy, INTEGERS))),
    st.builds(
        AcknowledgeStatuses,
        st.lists(
            st.builds(StatusAcknowledgement, FRAMEWORKS, NAMES.map(TaskId), st.binary(max_size=3)), max_size=2
        ).map(tuple),
    ),
    st.builds(ShutdownFramework, FRAMEWORKS),
    st.builds(Registered, INTEGERS),
    st.builds(Reregister, INTEGERS),
    st.builds(ExecutorMessage, FRAMEWORKS, TEXTS.map(ExecutorId), st.binary(max_size=2)),
    st.builds(ShutdownExecutor, FRAMEWORKS, TEXTS.map(ExecutorId)),
    st.builds(
        AcknowledgeExecutors,
        st.lists(
            st.builds(ExecutorAcknowledgement, FRAMEWORKS, TEXTS.map(ExecutorId), TEXTS.map(ContainerId)), max_size=2
        ).map(tuple),
    ),
)
_LINES = msgspec.json.Encoder()
_CALLS = msgspec.json.Decoder(ExecutorCall)
HEADERS = st.tuples(st.sampled_from([AGENT, AGENT, AgentId("")]), st.one_of(st.none(), st.none(), INTEGERS), INTEGERS)


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.lists(COMMANDS, max_size=4),
            st.one_of(st.none(), st.none(), HEADERS),
            st.sampled_from(range(7)),
            st.lists(WORDS, max_size=3),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_any_decodable_input_is_taken(
    steps: list[
        tuple[
            list[Command],
            tuple[AgentId, int | None, int] | None,
            int,
            list[tuple[int, list[ExecutorCall] | None]],
        ]
    ],
    goodbye: bool,
) -> None:
    world = World()
    for commands, header, news, words in steps:
        if header is None:
            world.command(*_through_the_codec(world, AGENT, 1, 1, commands).commands)
        else:
            agent_id, epoch, first = header
            batch = _through_the_codec(world, agent_id, world.epoch if epoch is None else epoch, first, commands)
            world.apply(CommandsArrived(now_ms=world.now_ms, batch=batch, random=2.0))
            world.epoch = max(world.epoch, world.core.link.epoch)
            world.next_number = world.core.link.confirmed + 1
        _words(world, words)
        _news(world, news)
        world.tick(7000, random=-1.0)
    if goodbye:
        world.command(ShutdownAgent(""))
    later = world.next_life()
    assert later.core.book.containers == {}
    assert later.core.executors.living == {}


def _through_the_codec(
    world: World, agent_id: AgentId, epoch: int, first: int, commands: list[Command]
) -> CommandBatch:
    batch = CommandBatch(
        agent_id=agent_id,
        session=SessionId(world.session),
        epoch=epoch,
        first_number=first,
        commands=tuple(commands),
    )
    return decode_commands(encode(batch))


def _news(world: World, kind: int) -> None:
    containers = [*world.core.executors.living_containers(), *world.core.book.containers]
    container_id = containers[0] if containers else ContainerId("nobody")
    events: list[ContainerEvent] = [
        ContainerStarted(container_id=container_id),
        ContainerPreparing(container_id=container_id, message=""),
        ContainerLaunchFailed(container_id=container_id, stage="fetch", message=""),
        ContainerExited(container_id=container_id, exit_code=-5, oom_killed=True, peak_mem_bytes=-1),
        ContainerResizeFailed(container_id=container_id, message=""),
    ]
    if kind < len(events):
        world.news(events[kind])
    elif kind == len(events):
        world.apply(TaskEndRequested(now_ms=world.now_ms, task_id=TaskId("a")))


def _words(world: World, words: list[tuple[int, list[ExecutorCall] | None]]) -> None:
    """Let the first executor there is, or one that nobody knows, say this on these connections."""
    container_id = next(iter(world.core.executors.executors), ContainerId("nobody"))
    events: list[LinkEvent] = []
    for connection, calls in words:
        if calls is None:
            events.append(ExecutorHungUp(container_id=container_id, connection=connection, fault="x"))
        else:
            said = tuple(_CALLS.decode_lines(_LINES.encode_lines(calls)))
            events.append(ExecutorSpoke(container_id=container_id, connection=connection, calls=said))
    world.apply(ExecutorsReported(now_ms=world.now_ms, events=tuple(events)))
