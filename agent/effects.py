"""What the agent's core wants done, in the imperative.

The effects of one event come in this order, and a shell must keep it: checkpoint, then reports, then what acts on
containers and executors, then what merely informs. Nothing may become visible before it is durable: an executor is told
ACKNOWLEDGED, and told of a task, only after the checkpoint knows of it.
"""

import enum
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from mesolite.ids import ContainerId, ExecutorId, FrameworkId
from mesolite.protocol import (
    ExecutorEvent,
    ExecutorTotals,
    FrameworkInfo,
    Report,
    TaskInfo,
    TaskState,
    TaskStatus,
)

from .containerizer.contract import ContainerSpec
from .records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Store these, in order, in one transaction."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReports:
    """Tell the master; lost reports are said again by the core, so a failure needs no answer."""

    #: For the header: the epoch that is followed, and the last command that is checkpointed.
    epoch: int
    confirmed: int
    #: A command is missing before one that arrived.
    gap: bool = False
    #: May be empty: then only the header matters.
    reports: tuple[Report, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchContainers:
    """Make each sandbox and start each container; outcomes come back as `ContainersReported`."""

    specs: tuple[ContainerSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLinks:
    """Let executors that outlived the agent's last life find it again."""

    #: Containers, and whose they are.
    executors: tuple[tuple[ContainerId, FrameworkId], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchExecutors:
    """As `LaunchContainers`, of executors: each gets the sockets by which it reaches the agent, which its spec leaves open."""

    specs: tuple[ContainerSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeContainer:
    """Give an executor's container other limits; failure comes back as `ContainersReported`."""

    container_id: ContainerId
    cpus_milli: int
    mem_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TellExecutor:
    """Say all this on one connection, in one piece. If it does not arrive, the connection is over and the executor comes back."""

    container_id: ContainerId
    connection: int
    events: tuple[ExecutorEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """Close a connection after what was said on it."""

    container_id: ContainerId
    connection: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseLinks:
    """These executors are over: nobody connects there any more."""

    container_ids: tuple[ContainerId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KillContainer:
    """End a container; repeating it with less grace hastens the end."""

    container_id: ContainerId
    grace_ms: int


class TaskChange(NamedTuple):
    """One step in the life of a task. A tuple, because there are three for every task and it is the cheapest record."""

    framework: FrameworkInfo
    task: TaskInfo
    state: TaskState
    #: None for STAGING, which is never reported, and for what a former life reported.
    status: TaskStatus | None
    #: When it came to this state in a former life, or as near as is known; None for a step of this life.
    since_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowTasks:
    """Let whoever watches know, Flower for one; nothing depends on it."""

    changes: tuple[TaskChange, ...]


class TotalsChange(NamedTuple):
    """What an executor says of the work that it does without tasks."""

    framework: FrameworkInfo
    executor_id: ExecutorId
    #: Which life of it.
    container_id: ContainerId
    #: None: it ended, and nothing of it is running.
    totals: ExecutorTotals | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowTotals:
    """Let whoever watches know, Flower for one; nothing depends on it."""

    changes: tuple[TotalsChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DropFramework:
    """A framework is over: what is kept for it beside its tasks (blocks) may go, once its executors have ended."""

    framework_id: FrameworkId


class Refusal(enum.Enum):
    """Why an input changed nothing. For counters and logs."""

    WRONG_AGENT = "wrong_agent"
    WRONG_SESSION = "wrong_session"
    OLD_EPOCH = "old_epoch"
    BAD_NUMBER = "bad_number"
    NOT_NUMBERED = "not_numbered"
    GAP = "gap"
    KNOWN_TASK = "known_task"
    UNKNOWN_TASK = "unknown_task"
    UNKNOWN_FRAMEWORK = "unknown_framework"
    UNKNOWN_EXECUTOR = "unknown_executor"
    #: Nobody is there who could be told; messages are best effort.
    UNHEARD_MESSAGE = "unheard_message"
    UNKNOWN_CONTAINER = "unknown_container"
    #: It said what an executor may not say.
    EXECUTOR_FAULT = "executor_fault"
    #: New limits could not be set.
    RESIZE_FAILED = "resize_failed"
    WRONG_ACKNOWLEDGEMENT = "wrong_acknowledgement"
    ILLEGAL_TRANSITION = "illegal_transition"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Note that an input was refused. Duplicates and stragglers are among these: not each one is somebody's fault."""

    refusal: Refusal
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAgent:
    """Every task ended and the agent leaves the cluster for good: forget its identity and end the process."""

    message: str
    #: It was turned away before it had ever been taken: its id is another agent's, and nothing of its own is to be forgotten.
    refused: bool = False


AgentEffect: TypeAlias = (
    Checkpoint
    | SendReports
    | OpenLinks
    | LaunchContainers
    | LaunchExecutors
    | ResizeContainer
    | TellExecutor
    | HangUp
    | KillContainer
    | CloseLinks
    | DropFramework
    | ShowTasks
    | ShowTotals
    | Rejected
    | StopAgent
)
