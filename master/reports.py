"""What registered agents say (reference 1.8)."""

from typing import assert_never

from mesolite.protocol import (
    MAX_EXECUTOR_DATA_BYTES,
    AgentHeartbeat,
    AgentMessage,
    AgentStopping,
    ExecutorExited,
    FrameworkMessage,
    RegisterAgent,
    Report,
    ShutdownFramework,
    StatusAcknowledgement,
    StatusUpdate,
    UnregisterAgent,
    Update,
)

from .absence import unregister
from .context import Context
from .executors import exited
from .lifecycle import holds_resources, reported
from .registration import register_again
from .settings import MAX_UPDATE_BYTES
from .state import Agent, Framework
from .subscription import forget_if_empty


def apply_report(context: Context, agent: Agent, report: Report) -> str | None:
    """Enter what an agent reports.

    Returns:
        Why the report was refused, or None.
    """
    match report:
        case RegisterAgent():
            return register_again(context, agent, report)
        case AgentHeartbeat():
            return None
        case StatusUpdate():
            if error := _size_error(report):
                return error
            _status_update(context, agent, report)
        case ExecutorExited():
            exited(context, agent, report)
        case AgentMessage():
            if len(report.data) > MAX_EXECUTOR_DATA_BYTES:
                return f"data of {len(report.data)} bytes; at most {MAX_EXECUTOR_DATA_BYTES} are passed on"
            framework = context.state.frameworks.get(report.framework_id)
            if framework is not None and framework.active:
                context.tell(framework, FrameworkMessage(agent.info.agent_id, report.executor_id, report.data))
        case AgentStopping():
            context.set_active(agent, False)
        case UnregisterAgent():
            unregister(context, agent)
        case _:
            assert_never(report)
    return None


def _size_error(report: StatusUpdate) -> str | None:
    """An update that nobody could be told would stop everything behind it."""
    size = len(report.status.data) + len(report.status.message)
    if size > MAX_UPDATE_BYTES:
        return f"data and message of {size} bytes; at most {MAX_UPDATE_BYTES} are passed on"
    return None


def _status_update(context: Context, agent: Agent, report: StatusUpdate) -> None:
    framework = context.state.frameworks.get(report.framework_id)
    if framework is None or framework.ending:
        _of_ended_framework(context, agent, report, framework)
        return
    task = framework.tasks.get(report.status.task_id)
    if task is None or task.agent_id != agent.info.agent_id:
        # It ended and was acknowledged, or is not this agent's to speak of; the framework decides, and acknowledges again.
        context.counts["updates_of_unknown_tasks"] += 1
        if framework.active:
            context.tell(framework, Update(report.status))
        return
    context.settle(task, reported(task.state, report.latest_state))
    if framework.active:
        context.update(framework, task, report.status)
    else:
        task.status = report.status


def _of_ended_framework(context: Context, agent: Agent, report: StatusUpdate, framework: Framework | None) -> None:
    """Acknowledge in the name of a framework that is no more, and see that the agent ends what it still runs."""
    status = report.status
    if status.uuid is not None:
        context.outbox.acknowledge(
            agent.info.agent_id,
            StatusAcknowledgement(framework_id=report.framework_id, task_id=status.task_id, uuid=status.uuid),
        )
    task = framework.tasks.get(status.task_id) if framework is not None else None
    if framework is not None and task is not None and task.agent_id == agent.info.agent_id:
        context.settle(task, reported(task.state, report.latest_state))
        task.status = status
        if not holds_resources(task.state):
            context.state.remove_task(task)
            forget_if_empty(context, framework)
    elif holds_resources(report.latest_state) and context.strangers.should_answer(
        f"shutdown {agent.info.agent_id} {report.framework_id}", context.now_ms
    ):
        context.command(agent, ShutdownFramework(report.framework_id))
