"""What the master answers when asked about a task (reference 1.9)."""

from typing import Final

from mesolite.ids import AgentId, TaskId
from mesolite.protocol import Reason, Reconcile, Source, TaskState, TaskStatus, Update

from .context import Context
from .state import Absence, Framework, Task

#: Of a task that is not known, whose agent is absent. Of one that may still come back nothing is said.
_STATES: Final[dict[Absence, TaskState | None]] = {
    Absence.RECOVERING: None,
    Absence.UNREACHABLE: TaskState.UNREACHABLE,
    Absence.GONE: TaskState.GONE_BY_OPERATOR,
    Absence.LEFT: TaskState.GONE,
}


def reconcile(context: Context, framework: Framework, call: Reconcile) -> None:
    """Answer a framework's question about some of its tasks, or about all of them."""
    if call.tasks:
        for asked in call.tasks:
            answer(context, framework, asked.task_id, asked.agent_id)
        return
    for task in (*framework.tasks.values(), *framework.unreachable.values()):
        context.tell(framework, Update(_repeated(context, task)))


def answer(context: Context, framework: Framework, task_id: TaskId, agent_id: AgentId | None) -> None:
    """Answer about one task. Silence means: not known yet, ask again."""
    task = framework.tasks.get(task_id) or framework.unreachable.get(task_id)
    if task is not None:
        context.tell(framework, Update(_repeated(context, task)))
        return
    state, since_ms = _state_of_unknown(context, agent_id)
    if state is None:
        return
    status = TaskStatus(
        task_id=task_id,
        state=state,
        source=Source.MASTER,
        timestamp_ms=context.now_ms,
        agent_id=agent_id,
        reason=Reason.RECONCILIATION,
        message="the master does not know this task",
        unreachable_time_ms=since_ms,
    )
    context.tell(framework, Update(status))


def _repeated(context: Context, task: Task) -> TaskStatus:
    """Say the newest word about a task again, without a uuid where it was acknowledged: this copy needs no acknowledgement.

    A word that its agent waits for to be acknowledged is repeated as it was. It may have been said to a scheduler that is no
    more, and the agent says it again only after pauses that double; whatever follows, the end of the task too, waits behind it.
    By the uuid the driver tells that the two are one: a copy of a last word without would be delivered as a second end, and have
    lost its reason.
    """
    known = task.status
    if known.uuid is not None:
        return known
    return TaskStatus(
        task_id=known.task_id,
        state=known.state,
        source=Source.MASTER,
        timestamp_ms=context.now_ms,
        agent_id=task.agent_id,
        reason=Reason.RECONCILIATION,
        message=known.message,
        container_status=known.container_status,
        unreachable_time_ms=known.unreachable_time_ms,
    )


def _state_of_unknown(context: Context, agent_id: AgentId | None) -> tuple[TaskState | None, int | None]:
    state = context.state
    if agent_id is None:
        return (None, None) if state.agents_recovering() else (TaskState.UNKNOWN, None)
    if agent_id in state.agents:
        return TaskState.GONE, None
    lost = state.lost_agents.get(agent_id)
    if lost is None:
        return TaskState.UNKNOWN, None
    return _STATES[lost.absence], lost.since_ms if lost.absence is Absence.UNREACHABLE else None
