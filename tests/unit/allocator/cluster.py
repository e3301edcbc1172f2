"""An allocator with everybody around it: verbs in short notation, offers remembered, books checked after every step."""

from mesolite.ids import AgentId, FrameworkId
from mesolite.master.allocator import Allocator, Grant, HierarchicalDrfAllocator, NonOffer, Reason
from mesolite.protocol import Attribute, Demand
from mesolite.resources import Quantities, Resources


class Cluster:
    """Plays the master. Amounts are written like `cpus:1;mem:64`; a demand like `10x cpus:1;mem:64`."""

    def __init__(self, allocator: Allocator | None = None) -> None:
        self.allocator: Allocator = allocator or HierarchicalDrfAllocator()
        self.now_ms = 0
        #: Outstanding, oldest first.
        self.offers: list[Grant] = []

    # -- agents and frameworks

    def agent(
        self, agent_id: str, total: str, *attributes: Attribute, used: dict[str, Resources] | None = None
    ) -> None:
        holders = {FrameworkId(framework_id): resources for framework_id, resources in (used or {}).items()}
        self.allocator.add_agent(AgentId(agent_id), f"{agent_id}.example", Resources.parse(total), attributes, holders)
        self.check()

    def change_agent(self, agent_id: str, total: str, *attributes: Attribute) -> None:
        self.allocator.update_agent(AgentId(agent_id), f"{agent_id}.example", Resources.parse(total), attributes)
        self.check()

    def lose_agent(self, agent_id: str) -> None:
        """The agent goes, and the offers of it with it."""
        self.offers = [offer for offer in self.offers if offer.agent_id != agent_id]
        self.allocator.remove_agent(AgentId(agent_id))
        self.check()

    def framework(
        self, framework_id: str, *roles: str, suppressed: tuple[str, ...] = (), smallest: tuple[str, ...] | None = None
    ) -> None:
        """Subscribe; `smallest` is its own smallest offer, in all roles."""
        roles = roles or ("*",)
        minima = {} if smallest is None else dict.fromkeys(roles, tuple(Quantities.parse(text) for text in smallest))
        self.allocator.add_framework(
            FrameworkId(framework_id), roles, suppressed=frozenset(suppressed), min_allocatable=minima
        )
        self.check()

    def demand(self, framework_id: str, *demands: str, role: str = "*") -> None:
        stated: list[Demand] = []
        for text in demands:
            count, shape = text.split("x ")
            stated.append(Demand(role=role, shape=Resources.parse(shape).to_wire(), count=int(count)))
        self.allocator.set_demand(FrameworkId(framework_id), tuple(stated))
        self.check()

    # -- offers and tasks

    def allocate(self) -> list[str]:
        """Run, and return what was offered: `A a1 cpus:1;mem:2`, with the role where it is not `*`."""
        grants = self.allocator.allocate(self.now_ms)
        self.offers.extend(grants)
        self.check()
        return [shown(grant) for grant in grants]

    def decline(self, framework_id: str, agent_id: str | None = None, *, refuse_ms: int | None = 5000) -> None:
        """Give back the framework's offers, of one agent or of all."""
        for offer in self.take_offers(framework_id, agent_id):
            self.recover(framework_id, offer.agent_id, offer.resources, offered=True, refuse_ms=refuse_ms)

    def accept(
        self, framework_id: str, agent_id: str, used: str | None = None, *, refuse_ms: int | None = 5000
    ) -> None:
        """Use part of the framework's offers of an agent, or all; what is left over is declined."""
        offers = self.take_offers(framework_id, agent_id)
        role = offers[0].role
        offered = sum((offer.resources for offer in offers), Resources.EMPTY)
        task = offered if used is None else Resources.parse(used).allocated_to(role)
        self.allocator.accepted(FrameworkId(framework_id), AgentId(agent_id), task)
        if offered - task:
            self.recover(framework_id, agent_id, offered - task, offered=True, refuse_ms=refuse_ms)
        self.check()

    def finish(self, framework_id: str, agent_id: str, used: str, role: str = "*") -> None:
        """A task ends."""
        self.recover(framework_id, agent_id, Resources.parse(used).allocated_to(role), offered=False, refuse_ms=None)

    def take_offers(self, framework_id: str, agent_id: str | None = None) -> list[Grant]:
        """Strike out a framework's offers and return them; there must be one."""
        taken = [o for o in self.offers if o.framework_id == framework_id and agent_id in {None, o.agent_id}]
        assert taken, f"{framework_id} has no offer of {agent_id or 'any agent'}"
        self.offers = [offer for offer in self.offers if offer not in taken]
        return taken

    def recover(
        self, framework_id: str, agent_id: str, resources: Resources, *, offered: bool, refuse_ms: int | None
    ) -> None:
        self.allocator.recover(
            FrameworkId(framework_id),
            AgentId(agent_id),
            resources,
            offered=offered,
            refuse_ms=refuse_ms,
            now_ms=self.now_ms,
        )
        self.check()

    # -- asking

    def explain(self, framework_id: str) -> list[NonOffer]:
        return self.allocator.explain(FrameworkId(framework_id), self.now_ms)

    def reasons(self, framework_id: str) -> list[Reason]:
        return [each.reason for each in self.explain(framework_id)]

    def check(self) -> None:
        self.allocator.check()


def shown(grant: Grant) -> str:
    """A grant on one line."""
    role = "" if grant.role == "*" else f" ({grant.role})"
    return f"{grant.framework_id} {grant.agent_id} {grant.resources.unallocated()}{role}"
