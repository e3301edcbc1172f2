"""What the agent's core wants done, in the imperative.

The effects of one event come in this order, and a shell must keep it: checkpoint, then reports, then what acts on
containers, then what merely informs. Nothing may become visible before it is durable.
"""

import enum
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from mesolite.ids import ContainerId
from mesolite.protocol import FrameworkInfo, Report, TaskInfo, TaskState, TaskStatus

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
    UNKNOWN_CONTAINER = "unknown_container"
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


AgentEffect: TypeAlias = Checkpoint | SendReports | LaunchContainers | KillContainer | ShowTasks | Rejected | StopAgent
