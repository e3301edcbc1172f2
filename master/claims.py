"""Who speaks for an agent's id: which of its lives, or of several machines that claim it, is heard (reference 1.15).

Two things look alike from here: an agent that restarted, whose newest life is to be heard at once, and a second machine with
the id of the first, which must not be. What an agent writes down for good tells them apart: the name of its checkpoint, and
the count of the lives that began from it.

- The same checkpoint and a higher count is the next life. It is taken; the one before cannot live any more.
- Anything else is a rival: another checkpoint (another machine, or another disk in this one), or a count that is not
  higher (a message of a dead life that came late, a copied disk, a disk set back to yesterday). It waits. If the holder
  is heard meanwhile, the rival is told to shut down. If the holder is silent long enough and the rival still asks, the rival
  is taken. What a dead life said late asks only once.
- An agent that does not tell is believed: the newest registration wins.

A life that another took over from, and that speaks all the same, is shut down: two cannot both be that agent.
"""

from mesolite.ids import SessionId
from mesolite.protocol import RegisterAgent, ReportBatch, Reregister, ShutdownAgent, UnregisterAgent
from mesolite.resources import EMPTY

from . import registry
from .commandlog import CommandLog
from .context import Context
from .effects import ForgetAgent
from .executors import launched_tasks
from .settings import MAX_AGENTS, MAX_RIVALS, QUIET_HEARTBEATS
from .state import Absence, Agent, LostAgent
from .validation import agent_error, life_error


def identify(context: Context, principal: str, batch: ReportBatch) -> Agent | str | None:
    """Find the agent that speaks, admitting it where it registers.

    Returns:
        The agent; or why what it says is refused; or None where it is not to be heard, now or ever.
    """
    agent = context.state.agents.get(batch.agent_id)
    lost = context.state.lost_agents.get(batch.agent_id)
    owner = _owner(agent, lost, principal)
    if owner != principal:
        return "the agent belongs to another principal"
    if agent is not None and agent.session == batch.session:
        return agent
    if lost is not None and lost.absence is Absence.GONE:
        _turn_away_gone(context, batch)
        return None
    if lost is not None and lost.absence is Absence.LEFT and lost.entry.session == batch.session:
        return None
    if agent is not None and agent.incarnation and batch.session in agent.superseded:
        # Mostly the late word of a life that is dead: nothing to show to an operator.
        _shut_down(context, batch, f"another life of agent {batch.agent_id} took over at {agent.info.hostname}")
        return None
    known = agent if agent is not None else lost.last if lost is not None else None
    register = next((report for report in batch.reports if isinstance(report, RegisterAgent)), None)
    if agent is not None and register is not None and _has_lost(context, agent, batch, register):
        where = f"{agent.info.hostname}, which is alive"
        return _shut_down(context, batch, f"the id {batch.agent_id} belongs to the agent at {where}")
    # What an agent says it has counts only once it follows this epoch: before, it may still take commands of an earlier one,
    # and so launch a task that its list lacks.
    if register is None or batch.epoch != context.epoch or (known is not None and batch.session in known.superseded):
        ask_to_register(context, batch)
        return None
    if known is not None and known.session == batch.session and batch.number <= known.last_batch:
        return None
    error = agent_error(batch.agent_id, register.agent_info) or life_error(register)
    if error is None and agent is None and len(context.state.agents) >= MAX_AGENTS:
        error = f"the cluster has {MAX_AGENTS} agents, which is the limit"
    if error is not None:
        return error
    if agent is not None:
        return _next_life(context, agent, batch, register) if _may_take_over(context, agent, batch, register) else None
    if lost is not None and not _may_return(context, lost, batch, register):
        return None
    return _admit(context, principal, batch, register, lost)


def _owner(agent: Agent | None, lost: LostAgent | None, principal: str) -> str:
    """Return who may speak for an id: anybody where nobody has it, or has it any more."""
    if agent is not None:
        return agent.principal
    return principal if lost is None or lost.absence is Absence.LEFT else lost.entry.principal


def ask_to_register(context: Context, batch: ReportBatch) -> None:
    """Ask a sender that is not registered for everything; in its turn, where many are on their way back."""
    if context.strangers.should_answer(f"agent {batch.agent_id} {batch.session}", context.now_ms):
        recovering = batch.agent_id in context.state.recovering
        spread_ms = max(0, context.asked_back_by_ms - context.now_ms) if recovering else 0
        context.outbox.unnumbered[batch.agent_id, batch.session] = Reregister(spread_ms)


def ask_back(context: Context, lost: LostAgent, spread_ms: int) -> None:
    """Ask an agent of the registry for everything, at the beginning of an epoch."""
    context.strangers.should_answer(f"agent {lost.agent_id} {lost.entry.session}", context.now_ms)
    context.outbox.unnumbered[lost.agent_id, lost.entry.session] = Reregister(spread_ms)


def _has_lost(context: Context, agent: Agent, batch: ReportBatch, register: RegisterAgent) -> bool:
    """Say whether this is a rival of a registered agent that was heard since the rival spoke up."""
    if not _is_rival(agent.checkpoint_id, agent.incarnation, register):
        return False
    return agent.last_heard_ms > _claimed_ms(context, batch)


def _may_take_over(context: Context, agent: Agent, batch: ReportBatch, register: RegisterAgent) -> bool:
    """Say whether a registration is to be taken for the next life of an agent that is registered."""
    if not _is_rival(agent.checkpoint_id, agent.incarnation, register):
        return True
    return context.now_ms - _claimed_ms(context, batch) >= quiet_ms(context)


def _may_return(context: Context, lost: LostAgent, batch: ReportBatch, register: RegisterAgent) -> bool:
    """Say whether a registration under the id of an absent agent is to be taken."""
    entry = lost.entry
    if lost.absence is Absence.LEFT:
        # Behind its leave, only a new agent of that id is heard.
        told = entry.incarnation and register.incarnation and entry.checkpoint_id == register.checkpoint_id
        return not told or register.incarnation > entry.incarnation
    if batch.session == entry.session or not _is_rival(entry.checkpoint_id, entry.incarnation, register):
        return True
    if lost.absence is Absence.UNREACHABLE and entry.checkpoint_id != register.checkpoint_id:
        return True
    since_ms = max(_claimed_ms(context, batch), context.asked_back_by_ms)
    return context.now_ms - since_ms >= quiet_ms(context)


def _is_rival(checkpoint_id: str, incarnation: int, register: RegisterAgent) -> bool:
    """Say whether a registration is not plainly the next life of the agent that has these."""
    told = checkpoint_id and incarnation and register.checkpoint_id and register.incarnation
    if not told:
        return False
    return register.checkpoint_id != checkpoint_id or register.incarnation <= incarnation


def _claimed_ms(context: Context, batch: ReportBatch) -> int:
    """Return when this rival spoke up first."""
    rivals = context.rivals
    since_ms = rivals.setdefault((batch.agent_id, batch.session), context.now_ms)
    if len(rivals) > MAX_RIVALS:
        del rivals[next(iter(rivals))]
    return since_ms


def quiet_ms(context: Context) -> int:
    """Return after how much silence somebody who lives should have been heard."""
    return QUIET_HEARTBEATS * context.settings.heartbeat_interval_ms


def _shut_down(context: Context, batch: ReportBatch, message: str) -> str | None:
    """Tell a process that claims an id that is not its own to end; not for each thing that it says.

    Returns:
        What the operator is to read, or None where that was said a moment ago.
    """
    context.counts["agents_turned_away"] += 1
    if not context.strangers.should_answer(f"shutdown {batch.agent_id} {batch.session}", context.now_ms):
        return None
    context.outbox.unnumbered[batch.agent_id, batch.session] = ShutdownAgent(message)
    return message


def _turn_away_gone(context: Context, batch: ReportBatch) -> None:
    """Refuse an id that an operator declared gone, for ever."""
    if any(isinstance(report, UnregisterAgent) for report in batch.reports):
        # It has ended what it ran and stops; nobody reads its queue any more.
        context.outbox.unnumbered.pop((batch.agent_id, batch.session), None)
        context.outbox.effects.append(ForgetAgent(agent_id=batch.agent_id))
        return
    _shut_down(context, batch, f"an operator declared agent {batch.agent_id} gone; start it with another id")


def _admit(
    context: Context, principal: str, batch: ReportBatch, register: RegisterAgent, lost: LostAgent | None
) -> Agent:
    agent_id = batch.agent_id
    context.counts["agents_registered"] += 1
    agent = Agent(
        info=register.agent_info,
        session=batch.session,
        principal=principal,
        total=EMPTY,
        # One that comes back within the epoch goes on counting; number 1 would be a duplicate to it.
        commands=CommandLog(batch.confirmed + 1),
        registered_ms=context.now_ms,
        last_heard_ms=context.now_ms,
        checkpoint_id=register.checkpoint_id,
        incarnation=register.incarnation,
        returned=lost is not None and lost.absence is Absence.UNREACHABLE,
    )
    if lost is not None:
        _take_up(agent, lost)
    context.state.add_agent(agent)
    context.allocator.add_agent(agent_id, register.agent_info.hostname, EMPTY, register.agent_info.attributes, used={})
    # Most come back to a new master as they were: nothing to write.
    if lost is None or lost.entry != agent.entry():
        context.outbox.save(registry.AGENT + agent_id, registry.encode(agent.entry()))
    return agent


def _take_up(agent: Agent, lost: LostAgent) -> None:
    """Go on with an agent that was lost. The same life may still find commands of before its loss in its queue: they stand."""
    agent.returning = lost.tasks
    last = lost.last
    if last is None:
        return
    agent.superseded = last.superseded
    agent.ended_executors = last.ended_executors
    if last.session == agent.session:
        agent.commands = last.commands
    else:
        agent.superseded.append(last.session)


def _next_life(context: Context, agent: Agent, batch: ReportBatch, register: RegisterAgent) -> Agent:
    """Go on with an agent whose process restarted: launches that its former life never confirmed are told to the new one.

    Not those of a framework that ended: the agent may have launched them, been told of the end, and forgotten all of it. And
    not to another checkpoint, which does not know what was launched from the former one.
    """
    log = CommandLog()
    same = agent.checkpoint_id == register.checkpoint_id
    for command in agent.commands.unconfirmed() if same else ():
        if (launch := launched_tasks(command)) is not None:
            framework = context.state.frameworks.get(launch[0].framework_id)
            if framework is not None and not framework.ending:
                log.add(command)
    former: SessionId = agent.session
    agent.superseded.append(former)
    agent.session = batch.session
    agent.checkpoint_id, agent.incarnation = register.checkpoint_id, register.incarnation
    agent.commands = log
    agent.last_batch = 0
    context.outbox.touched_agents[agent.info.agent_id] = None
    context.outbox.save(registry.AGENT + agent.info.agent_id, registry.encode(agent.entry()))
    return agent
