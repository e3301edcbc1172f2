"""How agents go: fall silent, leave, are declared gone, do not return to a new master (reference 1.15).

Each way ends with an entry among the absent, in the books and in the registry, so that the next master says the same when it
is asked about a task there: it may come back (UNREACHABLE), it ended (LEFT), or it is to be taken for ended (GONE). The
registry is written in the commit that tells frameworks, so nobody hears of it earlier.
"""

from msgspec.structs import replace

from mesolite.ids import AgentId, FrameworkId, TaskId
from mesolite.protocol import TERMINAL_STATES, Failure, Reason, ShutdownAgent, TaskState

from . import registry
from .context import Context
from .effects import ForgetAgent
from .executors import release
from .lifecycle import ended_by_master, lost_sight
from .settings import MAX_ABSENT_AGE_MS, MAX_ABSENT_AGENTS
from .state import Absence, Agent, Framework, LostAgent, Task
from .subscription import forget_if_empty


def restore(context: Context, agent_id: AgentId, entry: registry.AgentEntry) -> LostAgent:
    """Enter an agent of the registry at the beginning of an epoch; one that was registered is to come back in time."""
    if entry.gone_since_ms is not None:
        absence, since_ms = Absence.GONE, entry.gone_since_ms
    elif entry.left_since_ms is not None:
        absence, since_ms = Absence.LEFT, entry.left_since_ms
    elif entry.unreachable_since_ms is not None:
        absence, since_ms = Absence.UNREACHABLE, entry.unreachable_since_ms
    else:
        absence, since_ms = Absence.RECOVERING, context.now_ms + context.settings.agent_reregister_timeout_ms
    lost = LostAgent(agent_id=agent_id, entry=entry, absence=absence, since_ms=since_ms)
    context.state.mislay(lost)
    return lost


def lose(context: Context, agent: Agent, message: str) -> None:
    """Mark an agent unreachable: its tasks may still run, but their resources are no longer counted."""
    context.counts["agents_unreachable"] += 1
    tasks = tuple(key for key, task in agent.tasks.items() if task.state not in TERMINAL_STATES)
    _take_out(context, agent, message, TaskState.UNREACHABLE, Reason.AGENT_REMOVED)
    entry = agent.entry(unreachable_since_ms=context.now_ms)
    _note(context, agent.info.agent_id, entry, Absence.UNREACHABLE, last=agent, tasks=tasks)


def give_up(context: Context, lost: LostAgent) -> None:
    """Mark an agent unreachable that did not come back to a new master. Whoever asks about its tasks is told from now on."""
    context.counts["agents_unreachable"] += 1
    lost.entry = replace(lost.entry, unreachable_since_ms=context.now_ms)
    lost.absence, lost.since_ms = Absence.UNREACHABLE, context.now_ms
    context.state.mislay(lost)
    context.outbox.save(registry.AGENT + lost.agent_id, registry.encode(lost.entry))


def unregister(context: Context, agent: Agent) -> None:
    """Let an agent go that stopped for good, having killed what it ran."""
    agent_id = agent.info.agent_id
    _take_out(context, agent, "its agent stopped", TaskState.GONE, Reason.AGENT_REMOVED)
    _note(context, agent_id, agent.entry(left_since_ms=context.now_ms), Absence.LEFT)
    context.outbox.effects.append(ForgetAgent(agent_id=agent_id))


def mark_gone(context: Context, agent_id: AgentId) -> None:
    """Believe an operator that an agent will not come back: its tasks are taken for ended, its id is refused from now on.

    It is told to shut down, in case that it lives. Unknown: nothing happens.
    """
    message = "an operator declared its agent gone"
    agent, lost = context.state.agents.get(agent_id), context.state.lost_agents.get(agent_id)
    if agent is not None:
        _take_out(context, agent, message, TaskState.GONE_BY_OPERATOR, Reason.AGENT_REMOVED_BY_OPERATOR)
        entry = agent.entry(gone_since_ms=context.now_ms)
    elif lost is not None and lost.absence is not Absence.GONE:
        _end_tasks_of_lost(context, lost, message)
        entry = replace(lost.entry, gone_since_ms=context.now_ms, unreachable_since_ms=None, left_since_ms=None)
    else:
        return
    context.counts["agents_gone"] += 1
    _note(context, agent_id, entry, Absence.GONE)
    context.outbox.unnumbered[agent_id, entry.session] = ShutdownAgent(f"an operator declared agent {agent_id} gone")


def end_unreachable(context: Context, task: Task, state: TaskState, reason: Reason, message: str) -> None:
    """End a task that was UNREACHABLE, with a word to its framework."""
    context.state.end_unreachable(task, state, context.now_ms)
    framework = context.state.frameworks[task.framework_id]
    if framework.active:
        context.update(framework, task, context.master_status(task, state, reason=reason, message=message))


def prune(context: Context) -> None:
    """Forget the oldest of the absent: those beyond the age, which an id that was declared gone never reaches, and the number."""
    absent = [lost for lost in context.state.lost_agents.values() if lost.absence is not Absence.RECOVERING]
    absent.sort(key=lambda lost: (lost.absence is Absence.GONE, lost.since_ms, lost.agent_id))
    excess = len(absent) - MAX_ABSENT_AGENTS
    for place, lost in enumerate(absent):
        old = lost.absence is not Absence.GONE and context.now_ms - lost.since_ms > MAX_ABSENT_AGE_MS
        if not old and place >= excess:
            continue
        context.counts["agents_forgotten"] += 1
        del context.state.lost_agents[lost.agent_id]
        context.outbox.save(registry.AGENT + lost.agent_id, None)
        context.outbox.effects.append(ForgetAgent(agent_id=lost.agent_id))


def _note(
    context: Context,
    agent_id: AgentId,
    entry: registry.AgentEntry,
    absence: Absence,
    *,
    last: Agent | None = None,
    tasks: tuple[tuple[FrameworkId, TaskId], ...] = (),
) -> None:
    """Enter an agent among the absent, from now on."""
    context.state.mislay(
        LostAgent(agent_id=agent_id, entry=entry, absence=absence, since_ms=context.now_ms, last=last, tasks=tasks)
    )
    context.outbox.save(registry.AGENT + agent_id, registry.encode(entry))


def _end_tasks_of_lost(context: Context, lost: LostAgent, message: str) -> None:
    for framework_id, task_id in lost.tasks:
        framework = context.state.frameworks.get(framework_id)
        task = framework.unreachable.get(task_id) if framework is not None else None
        if task is not None:
            reason = Reason.AGENT_REMOVED_BY_OPERATOR
            end_unreachable(context, task, TaskState.GONE_BY_OPERATOR, reason, message)


def _take_out(context: Context, agent: Agent, message: str, state: TaskState, reason: Reason) -> None:
    """Strike an agent out of the books, with a word for each of its tasks, and one for all of a framework's executors."""
    agent_id: AgentId = agent.info.agent_id
    context.withdraw(list(agent.offers.values()))
    affected: dict[FrameworkId, Framework] = {}
    for task in list(agent.tasks.values()):
        framework = affected.setdefault(task.framework_id, context.state.frameworks[task.framework_id])
        lost = state is TaskState.UNREACHABLE
        if task.state in TERMINAL_STATES:
            if framework.active and not lost:
                # Its agent will not say it again: let the framework hear of this end, whether it has or not.
                context.update(
                    framework, task, context.master_status(task, task.state, reason=reason, message=task.status.message)
                )
            context.state.remove_task(task)
            continue
        context.settle(task, lost_sight(task.state) if lost else ended_by_master(task.state, state))
        status = context.master_status(
            task, state, reason=reason, message=message, unreachable_ms=context.now_ms if lost else None
        )
        if framework.active:
            context.update(framework, task, status)
        else:
            task.status = status
        if lost:
            context.state.lose_task(task)
        else:
            context.state.remove_task(task)
    for held in list(agent.executors.values()):
        affected.setdefault(held.framework_id, context.state.frameworks[held.framework_id])
        release(context, held)
    context.allocator.remove_agent(agent_id)
    context.state.remove_agent(agent_id)
    for framework in affected.values():
        if framework.active:
            context.tell(framework, Failure(agent_id=agent_id))
        if framework.ending:
            framework.unreachable.clear()
        forget_if_empty(context, framework)
