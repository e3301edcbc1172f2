"""A master's core with everybody who talks to it, for tests: events in, messages out, one line each."""

from typing import TypeVar, assert_never

from mesolite.ids import AgentId, ContainerId, ExecutorId, FrameworkId, SessionId, TaskId
from mesolite.master import MasterCore, MasterSettings
from mesolite.master.allocator import HierarchicalDrfAllocator
from mesolite.master.effects import (
    CommandAgent,
    DropState,
    DropStream,
    ForgetAgent,
    MasterEffect,
    NewerEpochHeard,
    SaveRegistry,
    SetAside,
    TellFramework,
)
from mesolite.master.events import CallsArrived, MasterEvent, ReportsArrived, Tick
from mesolite.protocol import (
    Accept,
    Acknowledge,
    Acknowledgement,
    AgentHeartbeat,
    AgentInfo,
    Call,
    CallBatch,
    Command,
    CommandBatch,
    CommandInfo,
    ContainerStatus,
    Event,
    EventBatch,
    ExecutorInfo,
    Filters,
    FrameworkInfo,
    Heartbeat,
    LaunchOperation,
    Offer,
    Offers,
    RegisterAgent,
    RegisteredExecutor,
    RegisteredTask,
    Report,
    ReportBatch,
    Source,
    StatusUpdate,
    Subscribe,
    TaskInfo,
    TaskState,
    TaskStatus,
    Update,
)
from mesolite.resources import Resources

_Kind = TypeVar("_Kind")


class World:
    """One master; frameworks and agents are names."""

    def __init__(self, *, settings: MasterSettings | None = None, epoch: int = 1, now_ms: int = 1_000_000) -> None:
        self.now_ms = now_ms
        self.settings = settings or MasterSettings()
        self.core = MasterCore(epoch=epoch, settings=self.settings, allocator=HierarchicalDrfAllocator())
        self.registry: dict[str, bytes] = {}
        #: What has been said since the last `clear`, per listener.
        self.events: dict[str, list[Event]] = {}
        self.event_batches: dict[str, list[EventBatch]] = {}
        self.batches: dict[str, list[CommandBatch]] = {}
        self.set_aside: list[SetAside] = []
        self.forgotten_queues: list[str] = []
        self.newer_epochs: list[int] = []
        #: Frameworks whose values were deleted.
        self.dropped_states: list[str] = []
        self._numbers: dict[str, int] = {}

    # -- speaking

    def apply(self, event: MasterEvent) -> None:
        self._take(self.core.apply(event))

    def tick(self, after_ms: int = 0) -> None:
        """Let time pass and end the batch."""
        self.now_ms += after_ms
        self.apply(Tick(now_ms=self.now_ms))
        self.core.check()

    def call(
        self, framework: str, *calls: Call, session: str = "s1", epoch: int = 1, number: int | None = None
    ) -> None:
        batch = CallBatch(
            framework_id=FrameworkId(framework),
            session=SessionId(session),
            epoch=epoch,
            number=self._number(f"{framework}/{session}") if number is None else number,
            calls=calls,
        )
        self.apply(CallsArrived(now_ms=self.now_ms, principal="default", batch=batch))
        self.tick()

    def report(
        self,
        agent: str,
        *reports: Report,
        session: str = "s1",
        epoch: int | None = None,
        confirmed: int = 0,
        gap: bool = False,
        number: int | None = None,
        principal: str = "default",
    ) -> None:
        batch = ReportBatch(
            agent_id=AgentId(agent),
            session=SessionId(session),
            epoch=self.core.context.epoch if epoch is None else epoch,
            number=self._number(f"{agent}/{session}") if number is None else number,
            confirmed=confirmed,
            gap=gap,
            reports=reports,
        )
        self.apply(ReportsArrived(now_ms=self.now_ms, principal=principal, batch=batch))
        self.tick()

    # -- common turns

    def subscribe(
        self, framework: str, *, session: str = "s1", roles: tuple[str, ...] = ("*",), timeout_ms: int = 60_000
    ) -> None:
        info = FrameworkInfo(
            framework_id=FrameworkId(framework), name=framework, roles=roles, failover_timeout_ms=timeout_ms
        )
        self.call(framework, Subscribe(framework_info=info), session=session)

    def register(
        self,
        agent: str,
        resources: str = "cpus:4;mem:4096",
        *,
        session: str = "s1",
        tasks: tuple[RegisteredTask, ...] = (),
        frameworks: tuple[FrameworkInfo, ...] = (),
        executors: tuple[RegisteredExecutor, ...] = (),
        confirmed: int = 0,
        life: tuple[str, int] = ("", 0),
    ) -> None:
        info = AgentInfo(agent_id=AgentId(agent), hostname=agent, resources=Resources.parse(resources).to_wire())
        checkpoint_id, incarnation = life
        self.report(
            agent,
            RegisterAgent(
                agent_info=info,
                tasks=tasks,
                frameworks=frameworks,
                executors=executors,
                checkpoint_id=checkpoint_id,
                incarnation=incarnation,
            ),
            session=session,
            confirmed=confirmed,
        )

    def launch(self, framework: str, offer: Offer, *tasks: TaskInfo, refuse_ms: int = 0, session: str = "s1") -> None:
        self.call(
            framework,
            Accept(
                offer_ids=(offer.offer_id,), operations=(LaunchOperation(tasks),), filters=Filters(refuse_ms=refuse_ms)
            ),
            session=session,
        )

    def update(
        self,
        agent: str,
        framework: str,
        task: str,
        state: TaskState,
        *,
        uuid: bytes = b"u" * 16,
        latest: TaskState | None = None,
        confirmed: int = 0,
        container: str | None = None,
    ) -> None:
        status = TaskStatus(
            task_id=TaskId(task),
            state=state,
            source=Source.AGENT,
            timestamp_ms=self.now_ms,
            agent_id=AgentId(agent),
            uuid=uuid,
            container_status=None if container is None else ContainerStatus(container_id=ContainerId(container)),
        )
        self.report(
            agent,
            StatusUpdate(framework_id=FrameworkId(framework), status=status, latest_state=latest or state),
            confirmed=confirmed,
        )

    def acknowledge(self, framework: str, agent: str, task: str, *, uuid: bytes = b"u" * 16) -> None:
        self.call(framework, Acknowledge((Acknowledgement(AgentId(agent), TaskId(task), uuid),)))

    def pass_time(self, duration_ms: int, *, frameworks: tuple[str, ...] = (), agents: tuple[str, ...] = ()) -> None:
        """Let time pass second by second, in which these schedulers and agents stay alive."""
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + 1000)
            for framework in frameworks:
                self.call(framework, Heartbeat())
            for agent in agents:
                self.report(agent, AgentHeartbeat())
            self.tick()

    def successor(self, *, settings: MasterSettings | None = None, after_ms: int = 0) -> "World":
        """The next master, which knows what this one wrote down."""
        world = World(
            settings=settings or self.settings, epoch=self.core.context.epoch + 1, now_ms=self.now_ms + after_ms
        )
        world.registry = dict(self.registry)
        world._numbers = self._numbers
        world.core.recover(world.registry, world.now_ms)
        world.tick()
        return world

    # -- hearing

    def clear(self) -> None:
        """Forget what has been said so far."""
        self.events.clear()
        self.event_batches.clear()
        self.batches.clear()
        self.set_aside.clear()

    def told(self, framework: str, kind: type[_Kind]) -> list[_Kind]:
        """What a framework was told of one kind."""
        return [event for event in self.events.get(framework, []) if isinstance(event, kind)]

    def commanded(self, agent: str, kind: type[_Kind]) -> list[_Kind]:
        """What an agent was told of one kind."""
        return [command for command in self.commands(agent) if isinstance(command, kind)]

    def commands(self, agent: str) -> list[Command]:
        return [command for batch in self.batches.get(agent, []) for command in batch.commands]

    def offer(self, framework: str) -> Offer:
        """The newest offer made to a framework."""
        return self.told(framework, Offers)[-1].offers[-1]

    def core_offer(self, framework: str) -> Offer:
        """The newest offer that a framework holds, whenever it was made."""
        held = list(self.core.state.frameworks[FrameworkId(framework)].offers.values())[-1]
        return Offer(
            offer_id=held.offer_id,
            framework_id=held.framework_id,
            agent_id=held.agent_id,
            hostname="",
            resources=held.resources.to_wire(),
            allocation_role=held.role,
        )

    def states(self, framework: str, task: str) -> list[TaskState]:
        """The states that a framework was told about a task."""
        return [event.status.state for event in self.told(framework, Update) if event.status.task_id == TaskId(task)]

    def _number(self, who: str) -> int:
        self._numbers[who] = self._numbers.get(who, 0) + 1
        return self._numbers[who]

    def _take(self, effects: list[MasterEffect]) -> None:
        for effect in effects:
            match effect:
                case TellFramework():
                    self.events.setdefault(effect.framework_id, []).extend(effect.batch.events)
                    self.event_batches.setdefault(effect.framework_id, []).append(effect.batch)
                case CommandAgent():
                    self.batches.setdefault(effect.agent_id, []).append(effect.batch)
                case SaveRegistry() if effect.value is None:
                    self.registry.pop(effect.key, None)
                case SaveRegistry():
                    assert effect.value is not None
                    self.registry[effect.key] = effect.value
                case SetAside():
                    self.set_aside.append(effect)
                case ForgetAgent():
                    self.forgotten_queues.append(effect.agent_id)
                case DropState():
                    self.dropped_states.append(effect.framework_id)
                case DropStream():
                    self.events.pop(effect.framework_id, None)
                case NewerEpochHeard():
                    self.newer_epochs.append(effect.epoch)
                case _:
                    assert_never(effect)


def task(task_id: str, agent: str = "a1", resources: str = "cpus:1;mem:64") -> TaskInfo:
    """A task that would run `true`."""
    return TaskInfo(
        task_id=TaskId(task_id),
        agent_id=AgentId(agent),
        resources=Resources.parse(resources).to_wire(),
        command=CommandInfo(value="true"),
    )


def executor(executor_id: str, resources: str = "cpus:0.5;mem:64") -> ExecutorInfo:
    """An executor of half a CPU."""
    return ExecutorInfo(
        executor_id=ExecutorId(executor_id),
        command=CommandInfo(value="serve"),
        resources=Resources.parse(resources).to_wire(),
    )


def inside(
    task_id: str, agent: str = "a1", resources: str = "cpus:1;mem:64", *, within: ExecutorInfo | None = None
) -> TaskInfo:
    """A task of an executor, `x` where no other is given."""
    return TaskInfo(
        task_id=TaskId(task_id),
        agent_id=AgentId(agent),
        resources=Resources.parse(resources).to_wire(),
        executor=within or executor("x"),
        data=b"C",
    )


def listed(framework: str, info: TaskInfo, state: TaskState = TaskState.RUNNING) -> RegisteredTask:
    """A task as its agent lists it at registration."""
    return RegisteredTask(framework_id=FrameworkId(framework), task=info, latest_state=state)


def running_task(world: World, *, life: tuple[str, int] = ("", 0)) -> Offer:
    """One framework `f`, one agent `a1`, one task `t` that runs."""
    world.subscribe("f")
    world.register("a1", life=life)
    offer = world.offer("f")
    world.launch("f", offer, task("t"))
    world.update("a1", "f", "t", TaskState.RUNNING, confirmed=2)
    world.clear()
    return offer
