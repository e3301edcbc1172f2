"""A driver core on the workbench: what every test of it begins with."""

from collections.abc import Sequence

from mesolite.frameworks.driver.core import DriverCore
from mesolite.frameworks.driver.effects import DriverEffect, SendCalls
from mesolite.frameworks.driver.events import (
    BatchArrived,
    Flushed,
    Request,
    Requested,
    Started,
    Ticked,
    UpdatesKept,
)
from mesolite.frameworks.driver.settings import DriverSettings
from mesolite.frameworks.driver.subscription import Phase
from mesolite.ids import AgentId, FrameworkId, OfferId, SessionId, TaskId
from mesolite.protocol import (
    Accept,
    Call,
    CallBatch,
    CommandInfo,
    Event,
    EventBatch,
    FrameworkInfo,
    LaunchOperation,
    Offer,
    Offers,
    Source,
    Subscribed,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from mesolite.resources import scalars

FRAMEWORK = FrameworkInfo(framework_id=FrameworkId("batch-17"), name="batch")
SESSION = SessionId("session-1")
OTHER_SESSION = SessionId("session-2")
INTERVAL_MS = 5000


def offer(name: str = "offer-1", agent: str = "agent-1", role: str = "*") -> Offer:
    """4 CPUs and 4 GiB of an agent."""
    return Offer(
        offer_id=OfferId(name),
        framework_id=FRAMEWORK.framework_id,
        agent_id=AgentId(agent),
        hostname=f"{agent}.example",
        resources=scalars(cpus=4, mem_mib=4096).allocated_to(role).to_wire(),
        allocation_role=role,
    )


def task(name: str = "task-1", agent: str = "agent-1") -> TaskInfo:
    """A small task."""
    return TaskInfo(
        task_id=TaskId(name),
        agent_id=AgentId(agent),
        resources=scalars(cpus=1, mem_mib=64).to_wire(),
        command=CommandInfo(value="true"),
    )


def accept(*tasks: TaskInfo, offers: Sequence[str] = ("offer-1",)) -> Accept:
    """Launch tasks on offers."""
    return Accept(tuple(OfferId(each) for each in offers), (LaunchOperation(tasks),))


def status(
    name: str = "task-1",
    state: TaskState = TaskState.RUNNING,
    uuid: bytes | None = b"u1",
    agent: str | None = "agent-1",
) -> TaskStatus:
    """A word about a task: an agent's where it has a uuid, else the master's."""
    return TaskStatus(
        task_id=TaskId(name),
        state=state,
        source=Source.MASTER if uuid is None else Source.AGENT,
        timestamp_ms=0,
        agent_id=AgentId(agent) if agent is not None else None,
        uuid=uuid,
    )


class Bench:
    """A core, a clock, and a master's numbering."""

    def __init__(self, settings: DriverSettings | None = None, known: Sequence[tuple[TaskId, AgentId | None]] = ()):
        self.core = DriverCore(FRAMEWORK, SESSION, settings, known)
        self.now_ms = 1_000_000
        self.epoch = 1
        self.number = 0

    def has_ended(self) -> bool:
        """Whether it is over."""
        return self.core.phase is Phase.ENDED

    def apply(self, effects: list[DriverEffect]) -> list[DriverEffect]:
        """Check the core after each of its events."""
        self.core.check()
        return effects

    def start(self) -> list[Call]:
        """Begin to subscribe; returns the calls."""
        self.apply(self.core.apply(Started(now_ms=self.now_ms)))
        return self.calls()

    def subscribed(self) -> "Bench":
        """Begin, and be confirmed."""
        self.start()
        self.hear(Subscribed(FRAMEWORK.framework_id, INTERVAL_MS))
        self.calls()
        return self

    def holding(self, *offers: Offer) -> "Bench":
        """Subscribed and with offers."""
        self.subscribed().hear(Offers(offers or (offer(),)))
        return self

    def hear(
        self,
        *events: Event,
        session: SessionId = SESSION,
        epoch: int | None = None,
        number: int | None = None,
    ) -> list[DriverEffect]:
        """Hear a batch; numbered on from the last unless told otherwise."""
        if epoch is not None and epoch != self.epoch:
            self.epoch, self.number = epoch, 0
        self.number = self.number + 1 if number is None else number
        batch = EventBatch(session=session, epoch=self.epoch, number=self.number, events=events)
        return self.apply(self.core.apply(BatchArrived(now_ms=self.now_ms, batch=batch)))

    def want(self, request: Request) -> list[DriverEffect]:
        """Ask for a call."""
        return self.apply(self.core.apply(Requested(now_ms=self.now_ms, request=request)))

    def keep(self, *statuses: TaskStatus) -> list[DriverEffect]:
        """Have updates safe."""
        return self.apply(self.core.apply(UpdatesKept(now_ms=self.now_ms, statuses=statuses)))

    def tick(self, by_ms: int = 0) -> list[DriverEffect]:
        """Let time pass."""
        self.now_ms += by_ms
        return self.apply(self.core.apply(Ticked(now_ms=self.now_ms, jitter=0.5)))

    def batches(self) -> list[CallBatch]:
        """End the step; returns what is sent."""
        effects = self.apply(self.core.apply(Flushed(now_ms=self.now_ms)))
        return [effect.batch for effect in effects if isinstance(effect, SendCalls)]

    def calls(self, by_ms: int = 0) -> list[Call]:
        """Tick and end the step; returns all calls sent."""
        self.tick(by_ms)
        return [call for batch in self.batches() for call in batch.calls]
