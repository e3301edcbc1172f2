"""What agents bring along when they register (reference 1.15 Return).

An agent that registers says everything it has, and the books are made to agree with it: what it runs is adopted, what it
should run and does not is launched again (where the command never reached it) or GONE (where it did). Unreachable tasks
return to what the agent says of them.
"""

from msgspec.structs import replace

from mesolite.ids import FrameworkId, TaskId
from mesolite.protocol import (
    TERMINAL_STATES,
    AgentInfo,
    KillTask,
    Reason,
    RegisterAgent,
    RegisteredTask,
    ShutdownFramework,
    Source,
    TaskState,
    TaskStatus,
)
from mesolite.protocol import Registered as RegisteredCommand
from mesolite.resources import Resources

from .absence import end_unreachable
from .accept import kept
from .context import Context
from .executors import Roll, launched_tasks
from .lifecycle import ended_by_master, holds_resources, reported
from .state import Agent, Framework, Task
from .subscription import UNKNOWN_PRINCIPAL, UNKNOWN_SESSION, forget_if_empty, recovered, still_ending
from .validation import agent_error


def register_again(context: Context, agent: Agent, report: RegisterAgent) -> str | None:
    """Make the books agree with what an admitted agent says it has. Safe to repeat."""
    if agent.answer is not None and any(each is agent.answer for each in agent.commands.unconfirmed()):
        # It asks again because the answer is still on its way; until it has that, it changes nothing that it does not report
        # later. When thousands come back at once, the answers lag behind, and going through all tasks again would never end.
        return None
    error = agent_error(agent.info.agent_id, report.agent_info)
    if error is not None:
        return error
    context.withdraw(list(agent.offers.values()))
    unlaunched = {
        (launch[0].framework_id, task.task_id)
        for launch in map(launched_tasks, agent.commands.unconfirmed())
        if launch is not None
        for task in launch[1]
    }
    roll = Roll(agent, report.executors)
    roll.strike_out(context)
    listed = {(entry.framework_id, entry.task.task_id): entry for entry in report.tasks}
    for key, task in list(agent.tasks.items()):
        if key not in listed:
            _not_listed(context, agent, task, in_flight=key in unlaunched)
    still_to_launch = _not_listed_of_returning(context, agent, listed, unlaunched)
    _set_total(context, agent, report.agent_info, [*listed.values(), *still_to_launch], roll)
    agent.commands.resend()
    agent.answer = RegisteredCommand(heartbeat_interval_ms=context.settings.heartbeat_interval_ms)
    context.command(agent, agent.answer)
    _meet_frameworks(context, report)
    roll.adopt(context)
    acknowledged = context.on_their_way(agent)
    adopted: list[Task] = []
    for entry in (*listed.values(), *still_to_launch):
        if not _is_over(entry, acknowledged):
            adopted += _listed(context, agent, entry)
    for framework_id, held in context.state.adopt_tasks(agent, adopted).items():
        context.allocator.allocated(framework_id, agent.info.agent_id, held)
    for task in adopted:
        _kill_again(context, agent, task)
    if agent.returned:
        agent.returned = False
        _say_that_they_run(context, adopted)
    _shut_down_ended(context, agent, roll.frameworks() | {framework_id for framework_id, _ in (*listed, *unlaunched)})
    return None


def _meet_frameworks(context: Context, report: RegisterAgent) -> None:
    """Enter the frameworks that an agent has tasks or executors of and this master has not heard of."""
    running = {each.framework_id for each in report.tasks if holds_resources(each.latest_state)}
    running |= {each.framework_id for each in report.executors}
    for info in report.frameworks:
        framework_id = info.framework_id
        if framework_id in context.state.frameworks:
            continue
        if framework_id not in context.state.completed_frameworks:
            recovered(context, info, UNKNOWN_SESSION, UNKNOWN_PRINCIPAL)
        elif framework_id in running:
            still_ending(context, info)


def _say_that_they_run(context: Context, tasks: list[Task]) -> None:
    """Tell frameworks of tasks that they have been told to be UNREACHABLE, by an earlier master or when they asked this one."""
    for task in tasks:
        framework = context.state.frameworks[task.framework_id]
        if framework.active and holds_resources(task.state):
            status = context.master_status(
                task, task.state, reason=Reason.AGENT_REREGISTERED, message="its agent is back"
            )
            context.update(framework, task, status)


def _set_total(
    context: Context,
    agent: Agent,
    info: AgentInfo,
    tasks: list[RegisteredTask],
    roll: Roll,
) -> None:
    """Take over the agent's total; one that shrank below what runs on it has nothing free until enough has ended."""
    total = Resources.of(info.resources)
    used = Resources.sum_of(
        (
            agent.used.unallocated(),
            roll.to_adopt,
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
    if framework.ending and not holds_resources(entry.latest_state):
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
    status = _said_of(context, agent, entry)
    task_id = entry.task.task_id
    kill_wanted = task_id in framework.wanted_kills
    resources = Resources.of(entry.task.resources)
    if not resources.allocation_roles():
        resources = resources.allocated_to(framework.info.roles[0])
    executor = entry.task.executor
    return Task(
        info=kept(entry.task),
        framework_id=entry.framework_id,
        agent_id=agent.info.agent_id,
        resources=resources,
        state=entry.latest_state,
        status=status,
        accepted_ms=context.now_ms,
        executor_id=executor.executor_id if executor is not None else None,
        ended_ms=context.now_ms if entry.latest_state in TERMINAL_STATES else 0,
        kill_wanted=kill_wanted,
        kill_policy=framework.wanted_kills.pop(task_id) if kill_wanted else None,
    )


def _said_of(context: Context, agent: Agent, entry: RegisteredTask) -> TaskStatus:
    """Return the newest word about a task that this master has not seen.

    Where nothing follows it, it counts as acknowledged: mostly it was, and frameworks that ask a new master about all their tasks
    are not to acknowledge all of them again.
    """
    if entry.sent_status is None:
        return TaskStatus(
            task_id=entry.task.task_id,
            state=TaskState.STAGING,
            source=Source.MASTER,
            timestamp_ms=context.now_ms,
            agent_id=agent.info.agent_id,
            message="on its agent, which has said nothing of it yet",
        )
    if entry.latest_state in TERMINAL_STATES:
        return entry.sent_status
    return replace(entry.sent_status, uuid=None)


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
        end_unreachable(context, task, TaskState.GONE, Reason.AGENT_RESTARTED, "its agent came back without it")
    return still_to_launch


def _shut_down_ended(context: Context, agent: Agent, framework_ids: set[FrameworkId]) -> None:
    for framework_id in sorted(framework_ids):
        framework = context.state.frameworks.get(framework_id)
        if framework is None or framework.ending:
            context.command(agent, ShutdownFramework(framework_id))
