"""What can happen to an agent: the inputs of its core, in the past tense.

Every event carries the time at which the shell took it up; those that may need a random choice carry a fraction in [0, 1).
"""

from dataclasses import dataclass
from typing import TypeAlias

from mesolite.ids import ContainerId, FrameworkId, TaskId
from mesolite.protocol import CommandBatch

from .containerizer.contract import ContainerEvent
from .executor_links.contract import LinkEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainersRecovered:
    """The containerizer has adopted what outlived the agent's last life. The first event of every life, once."""

    now_ms: int
    container_ids: tuple[ContainerId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandsArrived:
    """A decoded batch came out of the agent's queue."""

    now_ms: int
    batch: CommandBatch
    #: Places this agent in the time over which a master spreads registrations.
    random: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainersReported:
    """Containers changed, in this order."""

    now_ms: int
    events: tuple[ContainerEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorsReported:
    """Executors spoke or hung up, in this order."""

    now_ms: int
    events: tuple[LinkEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time passed; wanted at `AgentCore.next_deadline_ms`, harmless at any time."""

    now_ms: int
    #: Places the next registration within its back-off.
    random: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEndRequested:
    """Somebody at this machine wants a task to end: Flower's terminate button."""

    now_ms: int
    task_id: TaskId
    #: None means whichever framework's.
    framework_id: FrameworkId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsLost:
    """Reports could not be handed over for a while, or may have been forgotten; now they can again."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskChanged:
    """The work directory's disk ran short of space, or has space again."""

    now_ms: int
    #: Why nothing new may be launched, for the user; empty when there is room.
    shortage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerizerChanged:
    """The containerizer can start and end nothing any more, or can again. What runs is as it was, as far as anybody knows."""

    now_ms: int
    #: Why it cannot, for the user; empty where it can.
    trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStopping:
    """This life ends, as far as anybody knows to be followed by another; tasks run on. Nothing is applied after it."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownRequested:
    """The operator wants this agent to end its tasks and leave the cluster for good."""

    now_ms: int
    message: str


AgentEvent: TypeAlias = (
    ContainersRecovered
    | CommandsArrived
    | ContainersReported
    | ExecutorsReported
    | Tick
    | TaskEndRequested
    | ReportsLost
    | DiskChanged
    | ContainerizerChanged
    | ProcessStopping
    | ShutdownRequested
)
