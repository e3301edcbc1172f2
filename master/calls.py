"""What frameworks may say once they are subscribed (reference 1.1)."""

from typing import assert_never

from msgspec.structs import replace

from mesolite.errors import ResourceError
from mesolite.ids import AgentId
from mesolite.protocol import (
    MAX_EXECUTOR_DATA_BYTES,
    TERMINAL_STATES,
    Accept,
    Acknowledge,
    Acknowledgement,
    Call,
    Decline,
    Demand,
    ExecutorMessage,
    Failure,
    Heartbeat,
    Kill,
    KillTask,
    Message,
    Reconcile,
    Revive,
    SetDemand,
    Shutdown,
    ShutdownExecutor,
    StatusAcknowledgement,
    Subscribe,
    Suppress,
    TaskState,
    Teardown,
    UnsatisfiableDemand,
)
from mesolite.resources import Resources

from .accept import accept
from .context import Context
from .reconcile import answer, reconcile
from .settings import MAX_DEMANDS, MAX_WANTED_KILLS, MIN_REFUSE_MS
from .state import Absence, Agent, Framework
from .subscription import end, subscribe_again
from .validation import roles_error


def apply_call(context: Context, framework: Framework, call: Call) -> str | None:
    """Do what a subscribed framework says.

    Returns:
        Why the call was refused, or None.
    """
    match call:
        case Subscribe():
            return subscribe_again(context, framework, call)
        case Heartbeat():
            return None
        case Teardown():
            end(context, framework, "torn down by its scheduler")
        case Accept():
            accept(context, framework, call)
        case Decline():
            _decline(context, framework, call)
        case Revive():
            return _revive(context, framework, call)
        case Suppress():
            return _suppress(context, framework, call)
        case SetDemand():
            return set_demand(context, framework, call.demands)
        case Kill():
            kill(context, framework, call)
        case Acknowledge():
            for acknowledgement in call.acknowledgements:
                _acknowledge(context, framework, acknowledgement)
        case Reconcile():
            reconcile(context, framework, call)
        case Message():
            return _to_executor(
                context,
                framework,
                call,
                ExecutorMessage(framework_id=framework.info.framework_id, executor_id=call.executor_id, data=call.data),
            )
        case Shutdown():
            return _to_executor(
                context,
                framework,
                call,
                ShutdownExecutor(framework_id=framework.info.framework_id, executor_id=call.executor_id),
            )
        case _:
            assert_never(call)
    return None


def _decline(context: Context, framework: Framework, call: Decline) -> None:
    """Give offers back; ids that are void by now are ignored."""
    for offer_id in call.offer_ids:
        offer = framework.offers.get(offer_id)
        if offer is not None:
            context.counts["offers_declined"] += 1
            refuse_ms = call.filters.refuse_ms
            context.give_back(offer, refuse_ms=max(refuse_ms, MIN_REFUSE_MS) if refuse_ms >= 0 else refuse_ms)


def _revive(context: Context, framework: Framework, call: Revive) -> str | None:
    if error := roles_error(call.roles, framework.info):
        return error
    framework.suppressed -= frozenset(call.roles or framework.info.roles)
    context.allocator.revive(framework.info.framework_id, call.roles or framework.info.roles)
    return None


def _suppress(context: Context, framework: Framework, call: Suppress) -> str | None:
    if error := roles_error(call.roles, framework.info):
        return error
    framework.suppressed |= frozenset(call.roles or framework.info.roles)
    context.allocator.suppress(framework.info.framework_id, call.roles or framework.info.roles)
    return None


def set_demand(context: Context, framework: Framework, demands: tuple[Demand, ...]) -> str | None:
    """Replace a framework's demand, and say at once what no agent could ever satisfy (complaint: tasks that wait for ever)."""
    if len(demands) > MAX_DEMANDS:
        return f"{len(demands)} demands; at most {MAX_DEMANDS} are allowed: merge equal shapes"
    if error := roles_error((demand.role for demand in demands), framework.info):
        return error
    for demand in demands:
        if demand.count < 0:
            return f"a demand for {demand.count} units; a count is not negative"
        try:
            if not Resources.of(demand.shape):
                return "a demand for nothing: its shape is empty"
        except ResourceError as error:
            return f"a demand's shape: {error}"
    framework.demands = tuple(demand for demand in demands if demand.count)
    context.allocator.set_demand(framework.info.framework_id, framework.demands)
    warn_of_unsatisfiable(context, framework)
    return None


def warn_of_unsatisfiable(context: Context, framework: Framework) -> None:
    """Tell a framework which of its demands fit no agent, even an empty one; not while agents may still come back."""
    agents = context.state.agents.values()
    if not agents or context.state.agents_recovering():
        return
    for demand in framework.demands:
        shape = Resources.of(demand.shape)
        if not any(agent.total.allocatable_to(demand.role).contains(shape) for agent in agents):
            context.tell(framework, UnsatisfiableDemand(demand=demand, largest=_largest(list(agents)).to_wire()))


def _largest(agents: list[Agent]) -> Resources:
    return max((agent.total for agent in agents), key=lambda total: (total.scalar("cpus"), total.scalar("mem")))


def kill(context: Context, framework: Framework, call: Kill) -> None:
    """Pass a kill on, or answer for a task that cannot be killed."""
    task = framework.tasks.get(call.task_id)
    if task is None or task.state in TERMINAL_STATES:
        unreachable = framework.unreachable.get(call.task_id)
        if unreachable is not None:
            unreachable.kill_wanted, unreachable.kill_policy = True, call.kill_policy
        elif task is None and _may_turn_up(context, call.agent_id):
            _remember_kill(framework, call)
        if context.kill_answers.should_answer(f"{framework.info.framework_id} {call.task_id}", context.now_ms):
            answer(context, framework, call.task_id, call.agent_id)
        return
    if call.agent_id is not None and call.agent_id != task.agent_id:
        context.counts["kills_for_another_agent"] += 1
        return
    task.kill_wanted, task.kill_policy = True, call.kill_policy
    agent = context.state.agents[task.agent_id]
    if not agent.commands.full:
        context.command(
            agent,
            KillTask(framework_id=framework.info.framework_id, task_id=call.task_id, kill_policy=call.kill_policy),
        )


def _may_turn_up(context: Context, agent_id: AgentId | None) -> bool:
    """Say whether a task that is not known may come back with its agent."""
    if agent_id is None:
        return bool(context.state.lost_agents)
    lost = context.state.lost_agents.get(agent_id)
    return lost is not None and lost.absence in (Absence.RECOVERING, Absence.UNREACHABLE)


def _remember_kill(framework: Framework, call: Kill) -> None:
    """Keep a kill until the task turns up: its driver says it again only minutes later."""
    framework.wanted_kills[call.task_id] = call.kill_policy
    if len(framework.wanted_kills) > MAX_WANTED_KILLS:
        del framework.wanted_kills[next(iter(framework.wanted_kills))]


def _acknowledge(context: Context, framework: Framework, acknowledgement: Acknowledgement) -> None:
    """Pass an acknowledgement on; that of a terminal update ends the task here, any other is not waited for any more."""
    agent = context.state.agents.get(acknowledgement.agent_id)
    if agent is None or agent.commands.full:
        context.counts["acknowledgements_dropped"] += 1
        return
    context.outbox.acknowledge(
        acknowledgement.agent_id,
        StatusAcknowledgement(
            framework_id=framework.info.framework_id,
            task_id=acknowledgement.task_id,
            uuid=acknowledgement.uuid,
        ),
    )
    task = framework.tasks.get(acknowledgement.task_id)
    if task is None or task.agent_id != acknowledgement.agent_id or task.status.uuid != acknowledgement.uuid:
        return
    if task.status.state in TERMINAL_STATES:
        assert task.state is not TaskState.UNREACHABLE
        context.state.remove_task(task)
    else:
        task.status = replace(task.status, uuid=None)


def _to_executor(
    context: Context, framework: Framework, call: Message | Shutdown, command: ExecutorMessage | ShutdownExecutor
) -> str | None:
    agent = context.state.agents.get(call.agent_id)
    if isinstance(call, Message) and len(call.data) > MAX_EXECUTOR_DATA_BYTES:
        return f"data of {len(call.data)} bytes; at most {MAX_EXECUTOR_DATA_BYTES} are passed on"
    if agent is None or (framework.info.framework_id, call.executor_id) not in agent.executors:
        # No mistake of the scheduler's: either may have gone a moment ago.
        context.counts["words_for_unknown_executors"] += 1
        if agent is not None and isinstance(call, Shutdown):
            # The word of its end is said once, perhaps to an earlier session. An agent that is not registered may have it.
            message = "there is no such executor"
            context.tell(framework, Failure(agent_id=call.agent_id, executor_id=call.executor_id, message=message))
        return None
    # Messages are best effort, and would take the place of launches; a shutdown is too important for that.
    if agent.commands.full or (agent.commands.behind and isinstance(call, Message)):
        return f"agent {call.agent_id} is too far behind with its commands"
    context.command(agent, command)
    return None
