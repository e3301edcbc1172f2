"""What an agent keeps on disk: whole things to put under a key, and things to drop.

The core says what changed with these; the checkpoint stores them as they are and gives the puts back at the next start.
Storing is idempotent: a put replaces what its key had, a drop of nothing is nothing.
"""

from typing import TypeAlias, assert_never

from msgspec import Struct

from mesolite.executors.command import KillCause
from mesolite.ids import AgentId, ContainerId, FrameworkId, TaskId
from mesolite.protocol import TERMINAL_STATES, ExecutorInfo, FrameworkInfo, TaskInfo, TaskStatus

from .executor_endings import Loss
from .executor_lifecycle import ExecutorPhase
from .lifecycle import Phase


class AgentRecord(Struct, frozen=True):
    """The agent itself; one per checkpoint."""

    agent_id: AgentId
    #: The newest master's epoch that was followed; older ones are refused for ever.
    epoch: int
    #: The kernel's boot: no container outlives it.
    boot_id: str
    #: Drawn when this checkpoint was begun: tells it from any other of the same agent id.
    checkpoint_id: str = ""
    #: Lives of the agent that began from this checkpoint, the current one included: higher means later.
    incarnation: int = 0
    #: The machine went down, and no master has answered since: launches that come now were sent before it did.
    forgetful: bool = False


class FrameworkRecord(Struct, frozen=True):
    """A framework that has tasks or executors here. Key: its id."""

    framework: FrameworkInfo
    #: It was shut down: its tasks are being ended and nothing of it is launched.
    removed: bool = False


class ExecutorRecord(Struct, frozen=True, omit_defaults=True):
    """One life of an executor. Key: its container id. Written whole at each change of its phase, which are few.

    It stays until its end is acknowledged and its last task forgotten.
    """

    framework_id: FrameworkId
    container_id: ContainerId
    executor: ExecutorInfo
    #: See `RegisteredExecutor`.
    launched_by: TaskId
    phase: ExecutorPhase
    #: Why the agent ends it, where it does not end by itself.
    loss: Loss | None = None
    #: How it ended, for EXITED_EXECUTOR.
    exit_code: int | None = None
    message: str = ""
    #: The master has entered its end.
    acknowledged: bool = False


class TaskRecord(Struct, frozen=True):
    """What of a task never changes. Key: framework and task id. Written once."""

    framework_id: FrameworkId
    #: Its own container, or its executor's: then there is an ExecutorRecord of it.
    container_id: ContainerId
    #: A task of an executor without its `executor`, which is in the ExecutorRecord.
    task: TaskInfo
    #: The first task of the group that it was launched with, where it has an executor and was.
    group: TaskId | None = None


class ProgressRecord(Struct, frozen=True):
    """What of a task changes. Key: framework and task id. Written whole at each change."""

    framework_id: FrameworkId
    task_id: TaskId
    phase: Phase
    #: Set from the kill on.
    kill_cause: KillCause | None
    kill_grace_ms: int
    #: When its first process ran; None before.
    started_ms: int | None
    #: Updates that are not acknowledged, oldest first; only the first may be on its way.
    pending: tuple[TaskStatus, ...]
    #: The newest update that was acknowledged.
    acknowledged: TaskStatus | None
    #: Of a task that an executor runs: the ids of its newest updates, oldest first.
    update_ids: tuple[str, ...] = ()


class SeenRecord(Struct, frozen=True):
    """A task that is over and forgotten, whose id must not be launched again. Key: both ids; kept in order of arrival."""

    framework_id: FrameworkId
    task_id: TaskId


class TaskDropped(Struct, frozen=True):
    """Drop a task's TaskRecord and ProgressRecord."""

    framework_id: FrameworkId
    task_id: TaskId


class SeenDropped(Struct, frozen=True):
    """Drop one SeenRecord."""

    framework_id: FrameworkId
    task_id: TaskId


class ExecutorDropped(Struct, frozen=True):
    """Drop one ExecutorRecord."""

    container_id: ContainerId


class FrameworkDropped(Struct, frozen=True):
    """Drop a FrameworkRecord and, where `with_seen`, all SeenRecords of the framework."""

    framework_id: FrameworkId
    with_seen: bool = False


Put: TypeAlias = AgentRecord | FrameworkRecord | ExecutorRecord | TaskRecord | ProgressRecord | SeenRecord
Record: TypeAlias = Put | TaskDropped | SeenDropped | ExecutorDropped | FrameworkDropped


def outlives_machine(record: Record) -> bool:
    """Say whether a record must survive not only the agent but its machine, and so be on disk before anything follows from it.

    Without the others the agent takes a task for one that was never here, or for one that ran when the machine went down, and
    says of either that it is gone, which is true. But an end that was told must not be told otherwise.
    """
    match record:
        case ProgressRecord():
            return bool(record.pending) and record.pending[-1].state in TERMINAL_STATES
        case TaskRecord() | TaskDropped() | SeenRecord() | SeenDropped() | FrameworkRecord() | FrameworkDropped():
            return False
        case AgentRecord() | ExecutorRecord() | ExecutorDropped():
            return True
        case _:
            assert_never(record)
