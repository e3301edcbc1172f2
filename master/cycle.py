"""One allocation: what the allocator grants becomes offers, once checked against the books (STYLE: plan, then apply)."""

from mesolite.ids import FrameworkId, OfferId
from mesolite.protocol import Offer

from .allocator import Grant
from .context import Context
from .packing import offer_events
from .state import HeldOffer


def allocate(context: Context) -> None:
    """Ask the allocator, and offer what it grants."""
    made: dict[FrameworkId, list[Offer]] = {}
    for grant in context.allocator.allocate(context.now_ms):
        if not _stands(context, grant):
            context.counts["grants_refused"] += 1
            context.allocator.recover(
                grant.framework_id,
                grant.agent_id,
                grant.resources,
                offered=True,
                refuse_ms=None,
                now_ms=context.now_ms,
            )
            continue
        made.setdefault(grant.framework_id, []).append(_make_offer(context, grant))
    for framework_id, offers in made.items():
        context.counts["offers_made"] += len(offers)
        for event in offer_events(offers):
            context.tell(context.state.frameworks[framework_id], event)


def _stands(context: Context, grant: Grant) -> bool:
    """Check a grant against the books: an allocator, which is replaceable, cannot over-commit an agent."""
    agent = context.state.agents.get(grant.agent_id)
    framework = context.state.frameworks.get(grant.framework_id)
    if agent is None or framework is None or not agent.active or not framework.active:
        return False
    held = (agent.offered + agent.used + grant.resources).unallocated()
    return agent.total.contains(held)


def _make_offer(context: Context, grant: Grant) -> Offer:
    state = context.state
    offer_id = OfferId(f"{context.epoch}-O{state.next_offer}")
    state.next_offer += 1
    state.add_offer(
        HeldOffer(
            offer_id=offer_id,
            framework_id=grant.framework_id,
            agent_id=grant.agent_id,
            role=grant.role,
            resources=grant.resources,
            made_ms=context.now_ms,
        )
    )
    info = state.agents[grant.agent_id].info
    executors = state.frameworks[grant.framework_id].executors.get(grant.agent_id)
    return Offer(
        offer_id=offer_id,
        framework_id=grant.framework_id,
        agent_id=grant.agent_id,
        hostname=info.hostname,
        resources=grant.resources.to_wire(),
        allocation_role=grant.role,
        agent_url=info.url,
        attributes=info.attributes,
        executor_ids=tuple(executors) if executors else (),
    )
