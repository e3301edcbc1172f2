"""Calls: what a framework says to the master, on the stream `calls:<principal>` (reference 1.1)."""

from typing import TypeAlias

from msgspec import Struct

from mesolite.ids import AgentId, ExecutorId, OfferId, TaskId

from .common import Demand, ExecutorInfo, Filters, FrameworkInfo, KillPolicy, TaskInfo


class Subscribe(Struct, frozen=True, gc=False, tag="SUBSCRIBE", omit_defaults=True):
    """Register, or come back: the newest subscriber of an id wins. Safe to repeat."""

    framework_info: FrameworkInfo
    suppressed_roles: tuple[str, ...] = ()


class Heartbeat(Struct, frozen=True, gc=False, tag="HEARTBEAT"):
    """The scheduler is alive."""


class Teardown(Struct, frozen=True, gc=False, tag="TEARDOWN"):
    """Kill everything of this framework and forget it; its id becomes unusable."""


class LaunchOperation(Struct, frozen=True, gc=False, tag="LAUNCH", omit_defaults=True):
    """Launch independent tasks, each validated on its own."""

    task_infos: tuple[TaskInfo, ...]
    #: Of those that have neither a command nor an executor: thousands that share one need not each repeat it.
    executor: ExecutorInfo | None = None


class LaunchGroupOperation(Struct, frozen=True, gc=False, tag="LAUNCH_GROUP"):
    """Launch tasks under one executor, all or none; they reach it in one piece."""

    #: Tasks need not repeat it.
    executor: ExecutorInfo
    task_infos: tuple[TaskInfo, ...]


Operation: TypeAlias = LaunchOperation | LaunchGroupOperation


class Accept(Struct, frozen=True, gc=False, tag="ACCEPT", omit_defaults=True):
    """Use offers of one agent and one role; what the operations leave over is declined with `filters`."""

    offer_ids: tuple[OfferId, ...]
    operations: tuple[Operation, ...] = ()
    filters: Filters = Filters()


class Decline(Struct, frozen=True, gc=False, tag="DECLINE", omit_defaults=True):
    """Give offers back. Unknown ids are ignored."""

    offer_ids: tuple[OfferId, ...]
    filters: Filters = Filters()


class Revive(Struct, frozen=True, gc=False, tag="REVIVE", omit_defaults=True):
    """Clear filters and suppression of the roles; none means all."""

    roles: tuple[str, ...] = ()


class Suppress(Struct, frozen=True, gc=False, tag="SUPPRESS", omit_defaults=True):
    """Make no offers to the roles; none means all."""

    roles: tuple[str, ...] = ()


class SetDemand(Struct, frozen=True, gc=False, tag="SET_DEMAND", omit_defaults=True):
    """Replace what the framework wants. Until the first of these it is offered everything; after it, only what fits."""

    demands: tuple[Demand, ...] = ()


class Kill(Struct, frozen=True, gc=False, tag="KILL", omit_defaults=True):
    """Kill a task; may be repeated. An unknown task is answered as by Reconcile."""

    task_id: TaskId
    agent_id: AgentId | None = None
    kill_policy: KillPolicy | None = None


class Acknowledgement(Struct, frozen=True, gc=False, array_like=True):
    """One status update is safely kept by the framework."""

    agent_id: AgentId
    task_id: TaskId
    uuid: bytes


class Acknowledge(Struct, frozen=True, gc=False, tag="ACKNOWLEDGE"):
    """Acknowledge updates that carry a uuid, many at once."""

    acknowledgements: tuple[Acknowledgement, ...]


class ReconcileTask(Struct, frozen=True, gc=False, array_like=True):
    """A task whose state is asked for."""

    task_id: TaskId
    agent_id: AgentId | None = None


class Reconcile(Struct, frozen=True, gc=False, tag="RECONCILE", omit_defaults=True):
    """Ask for the state of these tasks, or of every task of the framework where the list is empty (reference 1.9)."""

    tasks: tuple[ReconcileTask, ...] = ()


class Message(Struct, frozen=True, gc=False, tag="MESSAGE"):
    """Bytes for an executor: best effort."""

    agent_id: AgentId
    executor_id: ExecutorId
    data: bytes


class Shutdown(Struct, frozen=True, gc=False, tag="SHUTDOWN"):
    """Shut an executor down."""

    agent_id: AgentId
    executor_id: ExecutorId


Call: TypeAlias = (
    Subscribe
    | Heartbeat
    | Teardown
    | Accept
    | Decline
    | Revive
    | Suppress
    | SetDemand
    | Kill
    | Acknowledge
    | Reconcile
    | Message
    | Shutdown
)
