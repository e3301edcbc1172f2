"""Commands: what the master says to one agent, through kombu, numbered within the master's epoch (DESIGN 5)."""

from typing import TypeAlias

from msgspec import Struct

from mesolite.ids import ContainerId, ExecutorId, FrameworkId, TaskId

from .common import ExecutorInfo, FrameworkInfo, KillPolicy, TaskInfo


class Registered(Struct, frozen=True, gc=False, tag="REGISTERED"):
    """The agent is known to this epoch's master."""

    #: Report at least so often.
    heartbeat_interval_ms: int


class Reregister(Struct, frozen=True, gc=False, tag="REREGISTER"):
    """The master does not know this agent: send everything. Carries number 0, which is outside the numbering."""

    #: Wait a random time up to this long first, so that many agents do not come at once.
    spread_ms: int = 0


class RunTask(Struct, frozen=True, gc=False, tag="RUN_TASK", omit_defaults=True):
    """Launch one task, at most once for its id."""

    framework: FrameworkInfo
    task: TaskInfo
    #: With a task that has an executor: the master has charged the executor's own resources for a new one. Where the master
    #: takes the executor for running and it is not, or the other way round, the agent refuses the task: the books would err.
    #: An executor that was charged so and is not launched, for whatever reason, is answered with EXITED_EXECUTOR.
    launch_executor: bool = False


class RunTasks(Struct, frozen=True, gc=False, tag="RUN_TASKS", omit_defaults=True):
    """Launch independent tasks that share an executor: so many RUN_TASKs in one piece, which is how thousands a second travel."""

    framework: FrameworkInfo
    executor: ExecutorInfo
    #: Each without its `executor`, which is said once, above.
    tasks: tuple[TaskInfo, ...]
    #: As in `RunTask`; it goes with the first task.
    launch_executor: bool = False


class RunTaskGroup(Struct, frozen=True, gc=False, tag="RUN_TASK_GROUP", omit_defaults=True):
    """Launch tasks under one executor, all or none; they reach it in one piece."""

    framework: FrameworkInfo
    executor: ExecutorInfo
    #: Each without its `executor`.
    tasks: tuple[TaskInfo, ...]
    #: As in `RunTask`.
    launch_executor: bool = False


class KillTask(Struct, frozen=True, gc=False, tag="KILL_TASK", omit_defaults=True):
    """Kill a task."""

    framework_id: FrameworkId
    task_id: TaskId
    kill_policy: KillPolicy | None = None


class StatusAcknowledgement(Struct, frozen=True, gc=False, array_like=True):
    """The framework keeps this update."""

    framework_id: FrameworkId
    task_id: TaskId
    uuid: bytes


class AcknowledgeStatuses(Struct, frozen=True, gc=False, tag="ACKNOWLEDGE"):
    """Stop resending these updates; send the next of each task."""

    acknowledgements: tuple[StatusAcknowledgement, ...]


class ShutdownFramework(Struct, frozen=True, gc=False, tag="SHUTDOWN_FRAMEWORK"):
    """Kill everything of a framework that ended and forget it."""

    framework_id: FrameworkId


class ExecutorMessage(Struct, frozen=True, gc=False, tag="MESSAGE"):
    """Bytes for an executor: best effort."""

    framework_id: FrameworkId
    executor_id: ExecutorId
    data: bytes


class ShutdownExecutor(Struct, frozen=True, gc=False, tag="SHUTDOWN_EXECUTOR"):
    """Shut an executor down, by force after its grace."""

    framework_id: FrameworkId
    executor_id: ExecutorId


class ExecutorAcknowledgement(Struct, frozen=True, gc=False, array_like=True):
    """The master has entered that this life of an executor ended."""

    framework_id: FrameworkId
    executor_id: ExecutorId
    container_id: ContainerId


class AcknowledgeExecutors(Struct, frozen=True, gc=False, tag="ACKNOWLEDGE_EXECUTORS"):
    """Stop repeating that these executors ended."""

    acknowledgements: tuple[ExecutorAcknowledgement, ...]


class ShutdownAgent(Struct, frozen=True, gc=False, tag="SHUTDOWN_AGENT"):
    """Kill everything and stop: the agent was declared gone or its id is taken by another."""

    message: str


Command: TypeAlias = (
    Registered
    | Reregister
    | RunTask
    | RunTasks
    | RunTaskGroup
    | KillTask
    | AcknowledgeStatuses
    | ShutdownFramework
    | ExecutorMessage
    | ShutdownExecutor
    | AcknowledgeExecutors
    | ShutdownAgent
)
