"""Reports: what an agent says to the master, on the stream `reports:<principal>`."""

from typing import TypeAlias

from msgspec import Struct

from mesolite.ids import ContainerId, ExecutorId, FrameworkId, TaskId

from .common import AgentInfo, ExecutorInfo, FrameworkInfo, TaskInfo, TaskState, TaskStatus


class RegisteredTask(Struct, frozen=True, gc=False, omit_defaults=True):
    """A task that the agent has and whose terminal update is not acknowledged yet."""

    framework_id: FrameworkId
    task: TaskInfo
    #: The newest state, which decides whether it holds resources.
    latest_state: TaskState
    #: The newest state that was sent to the framework, for reconciliation; None before the first.
    sent_status: TaskStatus | None = None


class RegisteredExecutor(Struct, frozen=True, gc=False):
    """An executor that runs on the agent."""

    framework_id: FrameworkId
    executor: ExecutorInfo
    #: This life of it: the same id may be launched again later, in another container.
    container_id: ContainerId
    #: The task with which it was launched: that of RUN_TASK with `launch_executor`, the first of RUN_TASKS and RUN_TASK_GROUP.
    #: Ids of tasks are never used twice, so master and agent name a life of an executor by it before any container is there.
    launched_by: TaskId


class RegisterAgent(Struct, frozen=True, gc=False, tag="REGISTER_AGENT", omit_defaults=True):
    """All that a master needs to know of an agent: sent at start, and again whenever the master asks."""

    agent_info: AgentInfo
    #: Every framework that has a task or executor here.
    frameworks: tuple[FrameworkInfo, ...] = ()
    tasks: tuple[RegisteredTask, ...] = ()
    executors: tuple[RegisteredExecutor, ...] = ()
    #: Drawn when the agent's checkpoint was made, so that a restarted agent can be told from another that claims its id.
    #: Empty where it says nothing of it: then the newest registration wins.
    checkpoint_id: str = ""
    #: Which life of that checkpoint this is, from 1; grows with each start. A lower one is the late word of a dead life. 0
    #: where it does not count.
    incarnation: int = 0


class StatusUpdate(Struct, frozen=True, gc=False, tag="STATUS_UPDATE"):
    """A task's update; resent with back-off until acknowledged, one outstanding per task."""

    framework_id: FrameworkId
    status: TaskStatus
    #: The newest state on the agent, which may be ahead of `status` (reference 1.8).
    latest_state: TaskState


class AgentHeartbeat(Struct, frozen=True, gc=False, tag="HEARTBEAT"):
    """The agent is alive, and has confirmed what the batch's header says."""


class ExecutorExited(Struct, frozen=True, gc=False, tag="EXITED_EXECUTOR", omit_defaults=True):
    """An executor ended, or was to be launched and was not.

    Repeated until `AcknowledgeExecutors`, because the master charges its resources until then.
    """

    framework_id: FrameworkId
    executor_id: ExecutorId
    #: Its container; of one that was never launched an id that no container has.
    container_id: ContainerId
    #: As in `RegisteredExecutor`: tells the master which of its charges this ends.
    launched_by: TaskId
    exit_code: int | None = None
    #: For people: how it ended.
    message: str = ""


class AgentMessage(Struct, frozen=True, gc=False, tag="MESSAGE"):
    """Bytes from an executor to its framework: best effort."""

    framework_id: FrameworkId
    executor_id: ExecutorId
    data: bytes


class AgentStopping(Struct, frozen=True, gc=False, tag="STOPPING"):
    """The agent's process ends, and its tasks run on: nothing is to be launched there until it speaks again.

    Mesos's master sees the same by the socket that closes (reference 1.15). Without this word, one that is lost or of a process
    that is killed, it is the agent's silence that tells, after three heartbeats.
    """


class UnregisterAgent(Struct, frozen=True, gc=False, tag="UNREGISTER_AGENT"):
    """The agent stops for good: it has killed its tasks."""


Report: TypeAlias = (
    RegisterAgent | StatusUpdate | AgentHeartbeat | ExecutorExited | AgentMessage | AgentStopping | UnregisterAgent
)
