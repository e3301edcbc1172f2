"""What may be offered: the rules between one client and one agent that hold under every policy.

An allocator's policy is who is asked first and who waits. Whether something may be offered at all is judged here, once, for
the run that offers and for the explanation why nothing is offered.
"""

from typing import Final, NamedTuple

from mesolite.resources import Quantities, Resources

from .agents import AgentBook
from .carving import Amounts
from .clients import Client
from .contract import Reason
from .demand import Want
from .filters import Filters

#: The smallest useful offer where a framework says nothing: 0.01 CPUs or 32 MiB (reference 1.10; mesos
#: `src/master/constants.hpp`, MIN_CPUS and MIN_MEM).
DEFAULT_MIN_ALLOCATABLE: Final = (Quantities.parse("cpus:0.01"), Quantities.parse("mem:32"))


class Candidate(NamedTuple):
    """The most that could be offered now."""

    #: Unstamped, not empty.
    resources: Resources
    #: The same by name. Not to be changed.
    amounts: Amounts
    #: The shape that it consists of, and how many units; None where the client takes everything.
    want: Want | None
    units: int


def reaches(amounts: Amounts, minima: tuple[Quantities, ...]) -> bool:
    """Tell whether amounts reach one of the sets in all its names; no set at all accepts everything."""
    if not minima:
        return True
    for minimum in minima:
        for name, least in minimum:
            if amounts.get(name, 0) < least:
                break
        else:
            return True
    return False


def judge(
    agent: AgentBook, client: Client, filters: Filters, default_minima: tuple[Quantities, ...]
) -> Candidate | Reason:
    """Say what of an agent may be offered to an eligible client, or why nothing."""
    if not agent.active:
        return Reason.AGENT_INACTIVE
    if not agent.free:
        return Reason.AGENT_FULL
    if agent.hold is not None and agent.hold.client is not client:
        return Reason.HELD
    if client.demand is not None:
        return _judge_demand(agent, client, filters)
    free = agent.free_for(client.role)
    if not free:
        return Reason.AGENT_FULL
    minima = default_minima if client.min_allocatable is None else client.min_allocatable
    amounts = agent.free_amounts(client.role)
    if not reaches(amounts, minima):
        return Reason.TOO_SMALL
    if filters.blocking(client, agent.agent_id, free) is not None:
        return Reason.FILTERED
    return Candidate(free, amounts, None, 0)


def _judge_demand(agent: AgentBook, client: Client, filters: Filters) -> Candidate | Reason:
    """Try the shapes in the order of the demand.

    The allocator's own smallest offer does not apply, for the client has said what is useful. Its own does.
    """
    assert client.demand is not None
    reason = Reason.NO_FIT
    for want, units in client.demand.fits(agent.free_amounts(client.role)):
        if agent.hold is not None and want.amounts != agent.hold.amounts:
            continue
        part = agent.cut(want, client.role, units)
        if part is None:
            continue
        if client.min_allocatable and not reaches(want.amounts_of(units), client.min_allocatable):
            reason = Reason.TOO_SMALL
            continue
        if filters.blocking(client, agent.agent_id, part) is not None:
            reason = Reason.FILTERED
            continue
        return Candidate(part, want.amounts_of(units), want, units)
    return reason
