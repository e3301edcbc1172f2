"""Why nothing is offered: the same rules as in a run, put into sentences."""

from collections.abc import Sequence

from mesolite.ids import FrameworkId
from mesolite.resources import Quantities

from .agents import AgentBook
from .clients import Client, Framework
from .contract import NonOffer, Reason
from .demand import whole_units
from .filters import Filters
from .rules import judge


def explain(
    framework_id: FrameworkId,
    framework: Framework | None,
    agents: Sequence[AgentBook],
    filters: Filters,
    default_minima: tuple[Quantities, ...],
) -> list[NonOffer]:
    """Give a reason per role, or per role and agent; see `Allocator.explain`."""
    if framework is None or not framework.known:
        return [_of_role("*", Reason.FRAMEWORK_INACTIVE, f"framework {framework_id} is not subscribed")]
    reasons: list[NonOffer] = []
    for client in sorted(framework.clients.values(), key=lambda client: client.role):
        if not client.subscribed:
            continue
        of_all = _for_all_agents(client, agents)
        if of_all is not None:
            reasons.append(of_all)
            continue
        reasons.extend(
            _for_agent(agent, client, filters, default_minima)
            for agent in sorted(agents, key=lambda agent: agent.agent_id)
        )
    return reasons


def _for_all_agents(client: Client, agents: Sequence[AgentBook]) -> NonOffer | None:
    if not client.framework.active:
        return _of_role(client.role, Reason.FRAMEWORK_INACTIVE, "its scheduler is not connected")
    if client.suppressed:
        return _of_role(client.role, Reason.SUPPRESSED, "it asked for no offers; REVIVE ends that")
    if not client.eligible():
        return _of_role(client.role, Reason.NO_DEMAND, "all that it said it wants is offered to it or in use")
    if not agents:
        return _of_role(client.role, Reason.NO_AGENTS, "no agent is registered")
    return None


def _for_agent(agent: AgentBook, client: Client, filters: Filters, default_minima: tuple[Quantities, ...]) -> NonOffer:
    verdict = judge(agent, client, filters, default_minima)
    if not isinstance(verdict, Reason):
        return _of_agent(agent, client, Reason.WAITING, f"{verdict.resources} can be offered at the next allocation")
    free = agent.free_for(client.role)
    match verdict:
        case Reason.AGENT_INACTIVE:
            message = "the agent is silent, draining or behind with its commands"
        case Reason.AGENT_FULL:
            message = _holders(agent)
        case Reason.HELD:
            assert agent.hold is not None
            message = f"{free} is kept for a large demand of {agent.hold.client.name()}"
            return _of_agent(agent, client, verdict, message, agent.hold.until_ms)
        case Reason.TOO_SMALL:
            own = client.min_allocatable
            minima = " or ".join(str(minimum) for minimum in (default_minima if own is None else own))
            message = f"only {free} is free; the smallest offer is {minima}"
        case Reason.NO_FIT:
            return _no_fit(agent, client)
        case Reason.FILTERED:
            return _filtered(agent, client, filters)
        case _:
            raise AssertionError(f"no rule gives the reason {verdict}")
    return _of_agent(agent, client, verdict, message)


def _holders(agent: AgentBook) -> str:
    holders = sorted({client.framework_id for client in agent.held})
    if not holders:
        return "the agent has nothing for this role"
    shown = ", ".join(holders[:3]) + (f" and {len(holders) - 3} more" if len(holders) > 3 else "")
    return f"all that this role could get is offered to or used by {shown}"


def _no_fit(agent: AgentBook, client: Client) -> NonOffer:
    assert client.demand is not None
    shapes = [want.amounts for want in client.demand.wants if want.needed()]
    wanted = " or ".join(str(Quantities(shape)) for shape in shapes)
    if not any(whole_units(agent.total_amounts(client.role), shape) for shape in shapes):
        return _of_agent(agent, client, Reason.NEVER_FITS, f"{wanted} is wanted; the whole agent has {agent.total}")
    message = f"{wanted} is wanted; {agent.free_for(client.role) or 'nothing'} is free"
    return _of_agent(agent, client, Reason.NO_FIT, message)


def _filtered(agent: AgentBook, client: Client, filters: Filters) -> NonOffer:
    ends = filters.ends_ms(client, agent.agent_id)
    message = f"it declined this agent; {agent.free_for(client.role)} is free"
    return _of_agent(agent, client, Reason.FILTERED, message, ends)


def _of_role(role: str, reason: Reason, message: str) -> NonOffer:
    return NonOffer(role=role, agent_id=None, reason=reason, message=message)


def _of_agent(agent: AgentBook, client: Client, reason: Reason, message: str, until_ms: int | None = None) -> NonOffer:
    return NonOffer(role=client.role, agent_id=agent.agent_id, reason=reason, message=message, until_ms=until_ms)
