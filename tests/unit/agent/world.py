"""An agent's core with everybody who talks to it, for tests: events in, effects out, one line each.

After every event the core's invariants are checked, the effects' order is, and that the checkpoint amounts to the core's
durable state: so each test here is also a test of recovery.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from mesolite.agent.checkpoint import MemoryCheckpoint
from mesolite.agent.containerizer.contract import (
    ContainerEvent,
    ContainerExited,
    ContainerLaunchFailed,
    ContainerPreparing,
    ContainerSpec,
    ContainerStarted,
)
from mesolite.agent.core import AgentCore
from mesolite.agent.effects import (
    AgentEffect,
    Checkpoint,
    CloseLinks,
    DropFramework,
    HangUp,
    KillContainer,
    LaunchContainers,
    LaunchExecutors,
    OpenLinks,
    Refusal,
    Rejected,
    ResizeContainer,
    SendReports,
    ShowTasks,
    ShowTotals,
    StopAgent,
    TellExecutor,
)
from mesolite.agent.events import (
    AgentEvent,
    CommandsArrived,
    ContainersRecovered,
    ContainersReported,
    ExecutorsReported,
    Tick,
)
from mesolite.agent.executor import Executor
from mesolite.agent.executor_links.contract import ExecutorHungUp, ExecutorSpoke
from mesolite.agent.records import Put
from mesolite.agent.settings import USUAL_PATIENCE, ExecutorPatience
from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, SessionId, TaskId
from mesolite.protocol import (
    AcknowledgeExecutors,
    AcknowledgeStatuses,
    AgentInfo,
    Command,
    CommandBatch,
    CommandInfo,
    ExecutorAcknowledged,
    ExecutorAcknowledgement,
    ExecutorCall,
    ExecutorEvent,
    ExecutorExited,
    ExecutorInfo,
    ExecutorLaunch,
    ExecutorLaunchGroup,
    ExecutorSubscribe,
    ExecutorUpdate,
    FrameworkInfo,
    KillPolicy,
    KillTask,
    RegisterAgent,
    Registered,
    Report,
    RunTask,
    RunTaskGroup,
    RunTasks,
    StatusAcknowledgement,
    StatusUpdate,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from mesolite.resources import Resource, ResourceType

AGENT = AgentId("a1")
FRAMEWORK = FrameworkId("f")
HEARTBEAT_MS = 5000

#: The order of the effects' contract.
_ORDER = (
    Checkpoint,
    SendReports,
    OpenLinks,
    LaunchContainers,
    LaunchExecutors,
    ResizeContainer,
    TellExecutor,
    HangUp,
    KillContainer,
    CloseLinks,
    DropFramework,
    ShowTasks,
    ShowTotals,
    Rejected,
    StopAgent,
)
_Kind = TypeVar("_Kind")


def scalar(name: str, amount: float) -> Resource:
    return Resource(name=name, type=ResourceType.SCALAR, scalar=round(amount * 1000), allocation_role="*")


def total(cpus: float = 4, mem: float = 1024) -> tuple[Resource, ...]:
    kind = ResourceType.SCALAR
    return (
        Resource(name="cpus", type=kind, scalar=round(cpus * 1000)),
        Resource(name="mem", type=kind, scalar=round(mem * 1000)),
    )


def task_info(
    name: str,
    *,
    cpus: float = 1,
    mem: float = 64,
    command: CommandInfo | None = None,
    limit_ms: int | None = None,
    grace_ms: int | None = None,
) -> TaskInfo:
    return TaskInfo(
        task_id=TaskId(name),
        agent_id=AGENT,
        resources=(scalar("cpus", cpus), scalar("mem", mem)),
        command=command if command is not None else CommandInfo(value="true"),
        max_completion_time_ms=limit_ms,
        kill_policy=KillPolicy(grace_period_ms=grace_ms) if grace_ms is not None else None,
    )


def run(name: str, *, framework: str = "f", cpus: float = 1, mem: float = 64, limit_ms: int | None = None) -> RunTask:
    return RunTask(
        FrameworkInfo(framework_id=FrameworkId(framework), name=framework),
        task_info(name, cpus=cpus, mem=mem, limit_ms=limit_ms),
    )


def executor_info(
    name: str = "e",
    *,
    cpus: float = 0.1,
    mem: float = 32,
    grace_ms: int = 5000,
    data: bytes = b"",
    command: str = "run",
) -> ExecutorInfo:
    return ExecutorInfo(
        executor_id=ExecutorId(name),
        command=CommandInfo(value=command),
        resources=(scalar("cpus", cpus), scalar("mem", mem)),
        shutdown_grace_period_ms=grace_ms,
        data=data,
    )


def under(
    *names: str,
    executor: ExecutorInfo | None = None,
    launch: bool = False,
    cpus: float = 0.5,
    mem: float = 64,
    framework: str = "f",
    limit_ms: int | None = None,
    data: bytes = b"",
) -> RunTasks:
    """Launch tasks under an executor."""
    infos = tuple(
        TaskInfo(
            task_id=TaskId(name),
            agent_id=AGENT,
            name=name,
            resources=(scalar("cpus", cpus), scalar("mem", mem)),
            max_completion_time_ms=limit_ms,
            data=data,
        )
        for name in names
    )
    info = FrameworkInfo(framework_id=FrameworkId(framework), name=framework)
    return RunTasks(info, executor if executor is not None else executor_info(), infos, launch)


def group(*names: str, executor: ExecutorInfo | None = None, launch: bool = False, cpus: float = 0.5) -> RunTaskGroup:
    """Launch a group of tasks."""
    command = under(*names, executor=executor, launch=launch, cpus=cpus)
    return RunTaskGroup(command.framework, command.executor, command.tasks, launch)


def said(
    name: str, state: TaskState, update_id: str = "", *, data: bytes = b"", message: str = "", timestamp_ms: int = 0
) -> ExecutorUpdate:
    """An executor's update; its id is its state's name unless told otherwise."""
    return ExecutorUpdate(
        task_id=TaskId(name),
        state=state,
        update_id=update_id or state.name,
        data=data,
        message=message,
        timestamp_ms=timestamp_ms,
    )


class World:
    """One agent and what it remembers; frameworks and tasks are names."""

    def __init__(
        self,
        *,
        joined: bool = True,
        cpus: float = 4,
        checkpoint: MemoryCheckpoint | None = None,
        epoch: int = 1,
        boot_id: str = "boot-1",
        survivors: Iterable[ContainerId] = (),
        life: int = 1,
        now_ms: int = 1_000_000,
        patience: ExecutorPatience = USUAL_PATIENCE,
    ) -> None:
        self.now_ms = now_ms
        self.epoch = epoch
        self.life = life
        self.cpus = cpus
        self.boot_id = boot_id
        self.patience = patience
        self.session = SessionId(f"life-{life}")
        self.checkpoint = checkpoint if checkpoint is not None else MemoryCheckpoint()
        self.effects: list[AgentEffect] = []
        self.next_number = 1
        #: Of the newest connection of any executor.
        self.connection = 0
        self.core = AgentCore.recover(
            self.checkpoint.load(),
            AgentInfo(agent_id=AGENT, hostname="host", resources=total(cpus)),
            session=self.session,
            life=life.to_bytes(8, "big"),
            boot_id=boot_id,
            sandbox_root=Path("/sandboxes"),
            patience=patience,
        )
        self.apply(ContainersRecovered(now_ms=now_ms, container_ids=tuple(survivors)))
        if joined:
            self.tick()
            self.join()

    def next_life(
        self, *, survivors: Iterable[ContainerId] = (), boot_id: str | None = None, joined: bool = True
    ) -> "World":
        """The agent's process dies and starts again with the same checkpoint."""
        return World(
            joined=joined,
            cpus=self.cpus,
            checkpoint=self.checkpoint,
            epoch=self.epoch,
            boot_id=boot_id or self.boot_id,
            survivors=survivors,
            life=self.life + 1,
            now_ms=self.now_ms + 1000,
            patience=self.patience,
        )

    # -- speaking

    def apply(self, event: AgentEvent) -> list[AgentEffect]:
        effects = self.core.apply(event)
        assert [_ORDER.index(type(each)) for each in effects] == sorted(_ORDER.index(type(each)) for each in effects)
        assert sum(isinstance(each, Checkpoint) for each in effects) <= 1
        assert sum(isinstance(each, SendReports) for each in effects) <= 1
        for effect in effects:
            if isinstance(effect, Checkpoint):
                self.checkpoint.save(effect.records)
        self.core.check()
        assert _as_set(self.checkpoint.load()) == _as_set(self.core.durable()), "the checkpoint is the durable state"
        self.effects.extend(effects)
        return effects

    def tick(self, after_ms: int = 0, random: float = 0.5) -> list[AgentEffect]:
        self.now_ms += after_ms
        return self.apply(Tick(now_ms=self.now_ms, random=random))

    def command(
        self,
        *commands: Command,
        first: int | None = None,
        epoch: int | None = None,
        session: str | None = None,
        random: float = 0.5,
    ) -> list[AgentEffect]:
        """Let the master say something, by default in order."""
        if first is None:
            first = self.next_number
            self.next_number += len(commands)
        batch = CommandBatch(
            agent_id=AGENT,
            session=SessionId(session) if session is not None else self.session,
            epoch=self.epoch if epoch is None else epoch,
            first_number=first,
            commands=commands,
        )
        return self.apply(CommandsArrived(now_ms=self.now_ms, batch=batch, random=random))

    def join(self) -> list[AgentEffect]:
        return self.command(Registered(heartbeat_interval_ms=HEARTBEAT_MS))

    def hear_nothing_new(self) -> None:
        """Hear from the master what was heard before: it is there, and that is all."""
        self.command(Registered(heartbeat_interval_ms=HEARTBEAT_MS), first=1)

    def launch(self, name: str, *, limit_ms: int | None = None) -> ContainerId:
        self.command(run(name, limit_ms=limit_ms))
        return self.container(name)

    def running(self, name: str, *, limit_ms: int | None = None) -> ContainerId:
        container_id = self.launch(name, limit_ms=limit_ms)
        self.started(container_id)
        return container_id

    def kill(self, name: str, grace_ms: int | None = None) -> list[AgentEffect]:
        policy = KillPolicy(grace_period_ms=grace_ms) if grace_ms is not None else None
        return self.command(KillTask(FRAMEWORK, TaskId(name), policy))

    def news(self, *events: ContainerEvent) -> list[AgentEffect]:
        return self.apply(ContainersReported(now_ms=self.now_ms, events=events))

    def preparing(self, container_id: ContainerId) -> list[AgentEffect]:
        return self.news(ContainerPreparing(container_id=container_id, message="pulling"))

    def started(self, container_id: ContainerId) -> list[AgentEffect]:
        return self.news(ContainerStarted(container_id=container_id))

    def failed(self, container_id: ContainerId) -> list[AgentEffect]:
        return self.news(ContainerLaunchFailed(container_id=container_id, stage="image", message="no such image"))

    def exited(self, container_id: ContainerId, code: int | None = 0, *, oom: bool = False) -> list[AgentEffect]:
        return self.news(
            ContainerExited(container_id=container_id, exit_code=code, oom_killed=oom, peak_mem_bytes=5 * 1024 * 1024)
        )

    def acknowledge(self, *updates: StatusUpdate) -> list[AgentEffect]:
        return self.command(AcknowledgeStatuses(tuple(acknowledgement(update) for update in updates)))

    def acknowledge_all(self, name: str) -> None:
        """Acknowledge what is sent for a task, and what is sent then, until nothing is."""
        while (update := self.head(name)) is not None:
            self.acknowledge(update)

    # -- executors

    def executor(self, name: str = "e", framework: str = "f") -> Executor:
        """The executor of this name that lives."""
        return self.core.executors.living[FrameworkId(framework), ExecutorId(name)]

    def subscribed(self, *names: str) -> Executor:
        """Launch tasks under a new executor, and let it start and subscribe."""
        self.command(under(*names, launch=True))
        executor = self.executor()
        self.started(executor.container_id)
        self.subscribe(executor)
        return executor

    def subscribe(
        self, executor: Executor, *updates: ExecutorUpdate, tasks: Iterable[str] = (), version: int = 1
    ) -> list[AgentEffect]:
        """Let an executor connect anew and say what it has unacknowledged."""
        self.connection += 1
        unacknowledged = tuple(TaskId(name) for name in tasks)
        return self.speak(executor, ExecutorSubscribe(version, unacknowledged, updates))

    def speak(self, executor: Executor, *calls: ExecutorCall, connection: int | None = None) -> list[AgentEffect]:
        return self.apply(
            ExecutorsReported(
                now_ms=self.now_ms,
                events=(
                    ExecutorSpoke(
                        container_id=executor.container_id,
                        connection=self.connection if connection is None else connection,
                        calls=calls,
                    ),
                ),
            )
        )

    def hang_up(self, executor: Executor, connection: int | None = None, fault: str = "") -> list[AgentEffect]:
        return self.apply(
            ExecutorsReported(
                now_ms=self.now_ms,
                events=(
                    ExecutorHungUp(
                        container_id=executor.container_id,
                        connection=self.connection if connection is None else connection,
                        fault=fault,
                    ),
                ),
            )
        )

    def acknowledge_exits(self) -> list[AgentEffect]:
        """Let the master enter every end that it was told of."""
        return self.command(
            AcknowledgeExecutors(
                tuple(
                    ExecutorAcknowledgement(each.framework_id, each.executor_id, each.container_id)
                    for each in {exited.container_id: exited for exited in self.exits()}.values()
                )
            )
        )

    def told(self) -> list[ExecutorEvent]:
        """All that executors were told so far."""
        return [event for effect in self.done(TellExecutor) for event in effect.events]

    def told_tasks(self) -> list[str]:
        """The tasks that executors were told to launch."""
        tasks: list[str] = []
        for event in self.told():
            if isinstance(event, ExecutorLaunch):
                tasks.append(event.task.task_id)
            elif isinstance(event, ExecutorLaunchGroup):
                tasks.extend(task.task_id for task in event.tasks)
        return tasks

    def acknowledged(self) -> list[tuple[str, str]]:
        """Which updates executors were told to forget."""
        return [(event.task_id, event.update_id) for event in self.told() if isinstance(event, ExecutorAcknowledged)]

    def exits(self) -> list[ExecutorExited]:
        return [report for report in self.reports() if isinstance(report, ExecutorExited)]

    def sizes(self) -> list[tuple[int, int]]:
        """The limits that containers were given, in thousandths of a CPU and MiB."""
        return [(effect.cpus_milli, effect.mem_mib) for effect in self.done(ResizeContainer)]

    def word(self, name: str) -> TaskStatus:
        """The newest update of a task."""
        return self.core.book.tasks[FRAMEWORK, TaskId(name)].pending[-1]

    # -- looking

    def container(self, name: str, framework: str = "f") -> ContainerId:
        return self.core.book.tasks[FrameworkId(framework), TaskId(name)].container_id

    def head(self, name: str) -> StatusUpdate | None:
        task = self.core.book.tasks.get((FRAMEWORK, TaskId(name)))
        return task.update() if task is not None and task.outstanding else None

    def states(self, name: str) -> list[TaskState]:
        """The states a task was reported in so far, resent ones included."""
        return [update.status.state for update in self.updates(name)]

    def updates(self, name: str) -> list[StatusUpdate]:
        return [
            report for report in self.reports() if isinstance(report, StatusUpdate) and report.status.task_id == name
        ]

    def reports(self) -> list[Report]:
        return [report for effect in self.done(SendReports) for report in effect.reports]

    def registrations(self) -> list[RegisterAgent]:
        return [report for report in self.reports() if isinstance(report, RegisterAgent)]

    def launched(self) -> list[ContainerSpec]:
        return [spec for effect in self.done(LaunchContainers) for spec in effect.specs]

    def launched_executors(self) -> list[ContainerSpec]:
        return [spec for effect in self.done(LaunchExecutors) for spec in effect.specs]

    def kills(self) -> list[tuple[ContainerId, int]]:
        return [(effect.container_id, effect.grace_ms) for effect in self.done(KillContainer)]

    def refusals(self) -> list[Refusal]:
        return [effect.refusal for effect in self.done(Rejected)]

    def done(self, kind: type[_Kind]) -> list[_Kind]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def clear(self) -> None:
        self.effects.clear()


def acknowledgement(update: StatusUpdate) -> StatusAcknowledgement:
    assert update.status.uuid is not None
    return StatusAcknowledgement(update.framework_id, update.status.task_id, update.status.uuid)


def _as_set(records: Iterable[Put]) -> list[bytes]:
    """Everything kept, without the order between things of different keys."""
    return sorted(repr(type(record)).encode() + msgspec.msgpack.encode(record) for record in records)
