"""How agents come, come back, are lost and leave (reference 1.15).

An agent that registers says everything it has, and the books are made to agree with it: what it runs is adopted, what it
should run and does not is launched again (where the command never reached it) or GONE (where it did). Unreachable tasks
return to what the agent says of them.
"""

from mesolite.errors import ResourceError
from mesolite.ids import AgentId, FrameworkId, SessionId, TaskId, id_error
from mesolite.protocol import (
    TERMINAL_STATES,
    AgentInfo,
    Failure,
    KillTask,
    Reason,
    RegisterAgent,
    RegisteredTask,
    ReportBatch,
    Reregister,
    RunTask,
    ShutdownFramework,
    Source,
    TaskState,
    TaskStatus,
)
from mesolite.protocol import Registered as RegisteredCommand
from mesolite.resources import EMPTY, Resources

from . import registry
from .commandlog import CommandLog
from .context import Context
from .effects import ForgetAgent
from .lifecycle import ended_by_master, holds_resources, lost_sight, reported
from .settings import MAX_AGENTS
from .state import Agent, Framework, LostAgent, Task
from .subscription import forget_if_empty, recovered

MAX_ATTRIBUTES = 1000


def identify(context: Context, principal: str, batch: ReportBatch) -> Agent | str | None:
    """Find the agent that speaks, admitting it where it registers.

    Returns:
        The agent; or why what it says is refused; or None where it is not to be heard yet.
    """
    agent = context.state.agents.get(batch.agent_id)
    lost = context.state.lost_agents.get(batch.agent_id)
    known = agent if agent is not None else lost.last if lost is not None else None
    owner = agent.principal if agent is not None else lost.principal if lost is not None else principal
    if owner != principal:
        return "the agent belongs to another principal"
    if agent is not None and agent.session == batch.session:
        return agent
    register = next((report for report in batch.reports if isinstance(report, RegisterAgent)), None)
    # What an agent says it has counts only once it follows this epoch: before, it may still take commands of an earlier one,
    # and so launch a task that its list lacks.
    if register is None or batch.epoch != context.epoch or (known is not None and batch.session in known.superseded):
        ask_to_register(context, batch)
        return None
    if known is not None and known.session == batch.session and batch.number <= known.last_batch:
        return None
    error = _info_error(batch.agent_id, register.agent_info)
    if error is None and agent is None and len(context.state.agents) >= MAX_AGENTS:
        error = f"the cluster has {MAX_AGENTS} agents, which is the limit"
    if error is not None:
        return error
    return _admit(context, principal, batch, register, lost) if agent is None else _next_life(context, agent, batch)


def ask_to_register(context: Context, batch: ReportBatch) -> None:
    """Ask a sender that is not registered for everything."""
    if context.strangers.should_answer(f"agent {batch.agent_id} {batch.session}", context.now_ms):
        context.outbox.reregister[batch.agent_id] = (batch.session, Reregister())


def ask_back(context: Context, agent_id: AgentId, session: SessionId) -> None:
    """Ask an agent of the registry for everything, at the beginning of an epoch."""
    context.outbox.reregister[agent_id] = (session, Reregister())


def register_again(context: Context, agent: Agent, report: RegisterAgent) -> str | None:
    """Make the books agree with what an admitted agent says it has. Safe to repeat."""
    error = _info_error(agent.info.agent_id, report.agent_info)
    if error is not None:
        return error
    context.withdraw(list(agent.offers.values()))
    unlaunched = {
        (command.framework.framework_id, command.task.task_id)
        for command in agent.commands.unconfirmed()
        if isinstance(command, RunTask)
    }
    listed = {(entry.framework_id, entry.task.task_id): entry for entry in report.tasks}
    for key, task in list(agent.tasks.items()):
        if key not in listed:
            _not_listed(context, agent, task, in_flight=key in unlaunched)
    still_to_launch = _not_listed_of_returning(context, agent, listed, unlaunched)
    _set_total(context, agent, report.agent_info, [*listed.values(), *still_to_launch])
    agent.commands.resend()
    context.command(agent, RegisteredCommand(heartbeat_interval_ms=context.settings.heartbeat_interval_ms))
    for info in report.frameworks:
        known = info.framework_id in context.state.frameworks
        if not known and info.framework_id not in context.state.completed_frameworks:
            recovered(context, info, SessionId("unknown"), agent.principal)
    acknowledged = context.on_their_way(agent)
    adopted: list[Task] = []
    for entry in (*listed.values(), *still_to_launch):
        if not _is_over(entry, acknowledged):
            adopted += _listed(context, agent, entry)
    for framework_id, held in context.state.adopt_tasks(agent, adopted).items():
        context.allocator.allocated(framework_id, agent.info.agent_id, held)
    _shut_down_ended(context, agent, {framework_id for framework_id, _ in (*listed, *unlaunched)})
    return None


def lose(context: Context, agent: Agent, message: str) -> None:
    """Mark an agent unreachable: its tasks may still run, but their resources are no longer counted."""
    agent_id = agent.info.agent_id
    context.counts["agents_unreachable"] += 1
    tasks = tuple(key for key, task in agent.tasks.items() if task.state not in TERMINAL_STATES)
    _take_out(context, agent, message, TaskState.UNREACHABLE, Reason.AGENT_REMOVED)
    context.state.lost_agents[agent_id] = LostAgent(
        agent_id=agent_id,
        hostname=agent.info.hostname,
        principal=agent.principal,
        since_ms=context.now_ms,
        unreachable=True,
        last=agent,
        tasks=tasks,
    )
    context.outbox.save(registry.AGENT + agent_id, _entry(agent, unreachable_since_ms=context.now_ms))


def unregister(context: Context, agent: Agent) -> None:
    """Let an agent go that stopped for good, having killed what it ran."""
    agent_id = agent.info.agent_id
    _take_out(context, agent, "its agent stopped", TaskState.GONE, Reason.AGENT_REMOVED)
    context.outbox.save(registry.AGENT + agent_id, None)
    context.outbox.effects.append(ForgetAgent(agent_id=agent_id))


def _admit(
    context: Context, principal: str, batch: ReportBatch, register: RegisterAgent, lost: LostAgent | None
) -> Agent:
    agent_id = batch.agent_id
    context.counts["agents_registered"] += 1
    # One that comes back within the epoch goes on counting; number 1 would be a duplicate to it.
    first = batch.confirmed + 1 if batch.epoch == context.epoch else 1
    agent = Agent(
        info=register.agent_info,
        session=batch.session,
        principal=principal,
        total=EMPTY,
        commands=CommandLog(first),
        registered_ms=context.now_ms,
        last_heard_ms=context.now_ms,
    )
    if lost is not None:
        _remember(agent, lost)
    context.state.lost_agents.pop(agent_id, None)
    context.state.agents[agent_id] = agent
    context.allocator.add_agent(agent_id, register.agent_info.hostname, EMPTY, register.agent_info.attributes, used={})
    context.outbox.save(registry.AGENT + agent_id, _entry(agent))
    return agent


def _remember(agent: Agent, lost: LostAgent) -> None:
    """Go on with an agent that was lost. The same life may still find commands of before its loss in its queue: they stand."""
    agent.returning = lost.tasks
    last = lost.last
    if last is None:
        return
    agent.superseded = last.superseded
    if last.session == agent.session:
        agent.commands = last.commands
    else:
        agent.superseded.append(last.session)


def _next_life(context: Context, agent: Agent, batch: ReportBatch) -> Agent:
    """Go on with an agent whose process restarted: launches that its former life never confirmed are told to the new one.

    Not those of a framework that ended: the agent may have launched them, been told of the end, and forgotten all of it.
    """
    log = CommandLog()
    for command in agent.commands.unconfirmed():
        if isinstance(command, RunTask):
            framework = context.state.frameworks.get(command.framework.framework_id)
            if framework is not None and not framework.ending:
                log.add(command)
    agent.superseded.append(agent.session)
    agent.session = batch.session
    agent.commands = log
    agent.last_batch = 0
    context.outbox.touched_agents[agent.info.agent_id] = None
    context.outbox.save(registry.AGENT + agent.info.agent_id, _entry(agent))
    return agent


def _set_total(
    context: Context,
    agent: Agent,
    info: AgentInfo,
    tasks: list[RegisteredTask],
) -> None:
    """Take over the agent's total; one that shrank below what runs on it has nothing free until enough has ended."""
    total = Resources.of(info.resources)
    used = Resources.sum_of(
        (
            agent.used.unallocated(),
            *(
                Resources.of(entry.task.resources).unallocated()
                for entry in tasks
                if (entry.framework_id, entry.task.task_id) not in agent.tasks and holds_resources(entry.latest_state)
            ),
        )
    )
    agent.info = info
    agent.total = total if total.contains(used) else used
    context.allocator.update_agent(info.agent_id, info.hostname, agent.total, info.attributes)
    if not agent.commands.behind:
        context.set_active(agent, True)


def _is_over(entry: RegisteredTask, acknowledged: set[tuple[FrameworkId, TaskId, bytes]]) -> bool:
    """Say whether a task's last update is acknowledged, and its agent, which still lists it, does not know yet."""
    said = entry.sent_status
    if said is None or said.uuid is None or said.state not in TERMINAL_STATES:
        return False
    return (entry.framework_id, entry.task.task_id, said.uuid) in acknowledged


def _listed(context: Context, agent: Agent, entry: RegisteredTask) -> tuple[Task, ...]:
    """Bring one task that the agent has into the books.

    Returns:
        The task where this master has not seen it: still to be adopted.
    """
    framework = context.state.frameworks.get(entry.framework_id)
    if framework is None:
        return ()
    task = framework.tasks.get(entry.task.task_id)
    if task is not None:
        if task.agent_id == agent.info.agent_id:
            context.settle(task, reported(task.state, entry.latest_state))
            _kill_again(context, agent, task)
        return ()
    if framework.ending:
        return ()
    task = framework.unreachable.pop(entry.task.task_id, None)
    if task is not None:
        _returned(context, framework, task, entry)
        return ()
    return (_adopted(context, agent, framework, entry),)


def _returned(context: Context, framework: Framework, task: Task, entry: RegisteredTask) -> None:
    """Move a task back from UNREACHABLE to what its agent says (reference 1.15 Return)."""
    task.state = TaskState.UNREACHABLE
    context.state.add_task(task)
    context.settle(task, reported(task.state, entry.latest_state))
    if holds_resources(task.state):
        status = context.master_status(task, task.state, reason=Reason.AGENT_REREGISTERED, message="its agent is back")
        context.update(framework, task, status)
    _kill_again(context, context.state.agents[task.agent_id], task)


def _kill_again(context: Context, agent: Agent, task: Task) -> None:
    """Repeat a kill that the agent may not have got."""
    if task.kill_wanted and holds_resources(task.state):
        context.command(
            agent,
            KillTask(framework_id=task.framework_id, task_id=task.info.task_id, kill_policy=task.kill_policy),
        )


def _adopted(context: Context, agent: Agent, framework: Framework, entry: RegisteredTask) -> Task:
    """Make a task that this master has not seen: it was launched under an earlier one.

    One that has ended is among them, until its end is acknowledged: who asks about it meanwhile must not be told that it
    is gone, because its agent is about to say how it ended.
    """
    status = entry.sent_status or TaskStatus(
        task_id=entry.task.task_id,
        state=TaskState.STAGING,
        source=Source.MASTER,
        timestamp_ms=context.now_ms,
        agent_id=agent.info.agent_id,
        message="on its agent, which has said nothing of it yet",
    )
    resources = Resources.of(entry.task.resources)
    if not resources.allocation_roles():
        resources = resources.allocated_to(framework.info.roles[0])
    return Task(
        info=entry.task,
        framework_id=entry.framework_id,
        agent_id=agent.info.agent_id,
        resources=resources,
        state=entry.latest_state,
        status=status,
        accepted_ms=context.now_ms,
        ended_ms=context.now_ms if entry.latest_state in TERMINAL_STATES else 0,
    )


def _not_listed(context: Context, agent: Agent, task: Task, *, in_flight: bool) -> None:
    """Settle a task that its agent does not have."""
    if in_flight:
        _kill_again(context, agent, task)
        return
    framework = context.state.frameworks[task.framework_id]
    if task.state not in TERMINAL_STATES:
        context.settle(task, ended_by_master(task.state, TaskState.GONE))
        if framework.active:
            status = context.master_status(
                task, TaskState.GONE, reason=Reason.AGENT_RESTARTED, message="its agent came back without it"
            )
            context.update(framework, task, status)
    context.state.remove_task(task)
    forget_if_empty(context, framework)


def _not_listed_of_returning(
    context: Context,
    agent: Agent,
    listed: dict[tuple[FrameworkId, TaskId], RegisteredTask],
    unlaunched: set[tuple[FrameworkId, TaskId]],
) -> list[RegisteredTask]:
    """Settle tasks that were UNREACHABLE with their agent, which is back without them.

    Returns:
        Those that it is still to launch, because their command may be on its way.
    """
    still_to_launch: list[RegisteredTask] = []
    returning, agent.returning = agent.returning, ()
    for key in returning:
        framework = context.state.frameworks.get(key[0])
        task = framework.unreachable.get(key[1]) if framework is not None else None
        if framework is None or task is None or key in listed:
            continue
        if key in unlaunched:
            still_to_launch.append(RegisteredTask(framework_id=key[0], task=task.info, latest_state=TaskState.STAGING))
            continue
        del framework.unreachable[key[1]]
        task.state, task.ended_ms = TaskState.GONE, context.now_ms
        framework.completed.append(task)
        if framework.active:
            status = context.master_status(
                task, TaskState.GONE, reason=Reason.AGENT_RESTARTED, message="its agent came back without it"
            )
            context.update(framework, task, status)
    return still_to_launch


def _shut_down_ended(context: Context, agent: Agent, framework_ids: set[FrameworkId]) -> None:
    for framework_id in sorted(framework_ids):
        framework = context.state.frameworks.get(framework_id)
        if framework is None or framework.ending:
            context.command(agent, ShutdownFramework(framework_id))


def _take_out(context: Context, agent: Agent, message: str, state: TaskState, reason: Reason) -> None:
    """Strike an agent out of the books, with a word for each of its tasks."""
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
    context.allocator.remove_agent(agent_id)
    del context.state.agents[agent_id]
    for framework in affected.values():
        if framework.active:
            context.tell(framework, Failure(agent_id=agent_id))
        if framework.ending:
            framework.unreachable.clear()
        forget_if_empty(context, framework)


def _info_error(agent_id: AgentId, info: AgentInfo) -> str | None:
    if error := id_error(agent_id):
        return f"the agent id {error}"
    if info.agent_id != agent_id:
        return f"agent_info names {info.agent_id}, the sender is {agent_id}"
    if len(info.attributes) > MAX_ATTRIBUTES:
        return f"{len(info.attributes)} attributes; at most {MAX_ATTRIBUTES} are allowed"
    try:
        if not Resources.of(info.resources):
            return "the agent has no resources"
    except ResourceError as error:
        return f"the agent's resources: {error}"
    return None


def _entry(agent: Agent, *, unreachable_since_ms: int | None = None) -> bytes:
    return registry.encode(
        registry.AgentEntry(
            hostname=agent.info.hostname,
            session=agent.session,
            principal=agent.principal,
            unreachable_since_ms=unreachable_since_ms,
        )
    )
