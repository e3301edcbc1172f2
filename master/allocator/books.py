"""The books that every allocator keeps, and the verbs that change them. A policy adds `allocate` on top.

Besides what is true, the books note what a run has to look at, so that a run costs as much as has changed:

    touched   agents where something was freed, or whose rules changed: to be looked at for every client
    fresh     clients that have become eligible, or want something else: to be looked at on every agent
    looks     pairs of agent and client between which a filter ended

After a run nothing more can be offered anywhere until one of these is noted again.

What tasks give back is only noted by `recover`, and booked in sums by the next verb that needs the books (parts.py).
"""

from collections.abc import Mapping

from mesolite.ids import AgentId, FrameworkId
from mesolite.protocol import Attribute, Demand
from mesolite.resources import EMPTY, Quantities, Resources

from .agents import AgentBook
from .carving import Amounts
from .clients import Client, Framework
from .contract import NonOffer, Reason
from .demand import DemandBook, Want
from .explain import explain
from .filters import Filters, refuse_duration_ms
from .parts import Freed, Part, Parts
from .rules import DEFAULT_MIN_ALLOCATABLE, Candidate, judge
from .shapes import Shapes


class Books:
    """All of `Allocator` but its policy: `allocate` and `set_weight` are a subclass's, which hears of changes by the hooks."""

    def __init__(self, *, min_allocatable: tuple[Quantities, ...] = DEFAULT_MIN_ALLOCATABLE) -> None:
        """Start empty.

        Args:
            min_allocatable: The smallest useful offer for frameworks that do not say: one of these sets.
        """
        self._minima = min_allocatable
        self._frameworks: dict[FrameworkId, Framework] = {}
        self._agents: dict[AgentId, AgentBook] = {}
        self._filters = Filters()
        #: Clients to be offered something, as `Client.eligible` says.
        self._eligible: dict[Client, None] = {}
        self._touched: dict[AgentId, None] = {}
        self._fresh: dict[Client, None] = {}
        self._looks: dict[AgentId, dict[Client, None]] = {}
        #: Clients whose demand, or what is offered for it, changed since the last run.
        self._restated: dict[Client, None] = {}
        #: What eligible clients need.
        self._shapes = Shapes()
        self._parts = Parts()
        self._freed = Freed()

    # -- hooks: what a policy may want to hear

    def client_added(self, client: Client) -> None:
        """A client has become known; it is not eligible yet."""

    def client_removed(self, client: Client) -> None:
        """A client is gone; it was not eligible and held nothing."""

    def eligibility_changed(self, client: Client, eligible: bool) -> None:
        """A client is to be offered something from now on, or no longer."""

    def taken(self, client: Client, amounts: Amounts) -> None:
        """A client holds more."""

    def given_back(self, client: Client, amounts: Amounts) -> None:
        """A client holds less."""

    def total_changed(self, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        """An agent's scalars are others now; empty for one that has come or gone."""

    def agent_changed(self, agent: AgentBook) -> None:
        """An agent is about to be changed, deactivated or removed."""

    # -- frameworks

    def add_framework(
        self,
        framework_id: FrameworkId,
        roles: tuple[str, ...],
        *,
        suppressed: frozenset[str] = frozenset(),
        min_allocatable: Mapping[str, tuple[Quantities, ...]] | None = None,
    ) -> None:
        """See `Allocator`."""
        self._book_freed()
        framework = self._frameworks.setdefault(framework_id, Framework(framework_id))
        framework.known = framework.active = True
        minima = min_allocatable or {}
        for role in dict.fromkeys(roles):
            client = framework.clients.get(role) or self._new_client(framework, role)
            client.subscribed = True
            client.suppressed = role in suppressed
            client.min_allocatable = minima.get(role)
            self._settle(client)
            if client in self._eligible:
                self._fresh[client] = None
        for role in [role for role in framework.clients if role not in roles]:
            client = framework.clients[role]
            client.subscribed = False
            client.demand = None
            self._filters.drop_client(client)
            self._settle(client)

    def remove_framework(self, framework_id: FrameworkId) -> None:
        """See `Allocator`."""
        self._book_freed()
        framework = self._frameworks.get(framework_id)
        if framework is None:
            return
        framework.known = framework.active = False
        for client in list(framework.clients.values()):
            assert not client.holdings, (
                f"{client.name()} is removed while it holds something on {client.holdings} agents"
            )
            client.subscribed = False
            self._filters.drop_client(client)
            self._settle(client)
        self._frameworks.pop(framework_id, None)

    def activate_framework(self, framework_id: FrameworkId) -> None:
        """See `Allocator`."""
        self._set_framework_active(framework_id, True)

    def deactivate_framework(self, framework_id: FrameworkId) -> None:
        """See `Allocator`."""
        self._set_framework_active(framework_id, False)

    def suppress(self, framework_id: FrameworkId, roles: tuple[str, ...]) -> None:
        """See `Allocator`."""
        for client in self._clients(framework_id, roles):
            client.suppressed = True
            self._settle(client)

    def revive(self, framework_id: FrameworkId, roles: tuple[str, ...]) -> None:
        """See `Allocator`."""
        for client in self._clients(framework_id, roles):
            client.suppressed = False
            self._filters.drop_client(client)
            self._settle(client)
            if client in self._eligible:
                self._fresh[client] = None

    def set_demand(self, framework_id: FrameworkId, demands: tuple[Demand, ...] | None) -> None:
        """See `Allocator`."""
        framework = self._frameworks.get(framework_id)
        for client in framework.clients.values() if framework else ():
            if not client.subscribed:
                continue
            before = _needs(client)
            if demands is not None:
                stated = [demand for demand in demands if demand.role == client.role]
                client.demand = DemandBook.stated(stated, client.offered, client.demand)
            elif client.demand is not None:
                client.demand = None
                self._fresh[client] = None
            self._demand_changed(client, before)

    # -- agents

    def add_agent(
        self,
        agent_id: AgentId,
        hostname: str,
        total: Resources,
        attributes: tuple[Attribute, ...],
        used: Mapping[FrameworkId, Resources],
    ) -> None:
        """See `Allocator`."""
        assert agent_id not in self._agents, f"agent {agent_id} is added twice"
        agent = self._agents[agent_id] = AgentBook(agent_id, hostname, total, attributes)
        self.total_changed({}, agent.total_scalars)
        for framework_id, resources in sorted(used.items()):
            self.allocated(framework_id, agent_id, resources)
        self._touched[agent_id] = None

    def update_agent(
        self, agent_id: AgentId, hostname: str, total: Resources, attributes: tuple[Attribute, ...]
    ) -> None:
        """See `Allocator`."""
        self._book_freed()
        agent = self._agents[agent_id]
        self.agent_changed(agent)
        if attributes != agent.attributes:
            self._filters.drop_agent(agent_id)
        before = agent.total_scalars
        agent.hostname = hostname
        agent.attributes = attributes
        agent.passed.clear()
        agent.set_total(total)
        self.total_changed(before, agent.total_scalars)
        self._touched[agent_id] = None

    def remove_agent(self, agent_id: AgentId) -> None:
        """See `Allocator`."""
        self._book_freed()
        agent = self._agents.get(agent_id)
        if agent is None:
            return
        self.agent_changed(agent)
        for client, resources in list(agent.held.items()):
            before = _needs(client)
            client.offered.pop(agent_id, None)
            if client.demand is not None:
                client.demand.nothing_offered(agent_id)
            agent.give_back(client, resources)
            self.given_back(client, resources.quantities().as_dict())
            self._demand_changed(client, before)
        self._filters.drop_agent(agent_id)
        del self._agents[agent_id]
        self.total_changed(agent.total_scalars, {})
        self._touched.pop(agent_id, None)
        self._looks.pop(agent_id, None)

    def activate_agent(self, agent_id: AgentId) -> None:
        """See `Allocator`."""
        agent = self._agents.get(agent_id)
        if agent is not None and not agent.active:
            agent.active = True
            self._touched[agent_id] = None

    def deactivate_agent(self, agent_id: AgentId) -> None:
        """See `Allocator`."""
        agent = self._agents.get(agent_id)
        if agent is not None:
            self.agent_changed(agent)
            agent.active = False

    # -- resources

    def accepted(self, framework_id: FrameworkId, agent_id: AgentId, resources: Resources) -> None:
        """See `Allocator`."""
        agent = self._agents.get(agent_id)
        if agent is None or not resources:
            return
        client, part = self._holder(framework_id, resources)
        used = part.resources
        before = _needs(client)
        self._take_off_offered(client, agent_id, used)
        agent.passed.pop(client, None)
        if client.demand is not None:
            client.demand.accepted(agent_id, part.amounts)
            if agent_id not in client.offered:
                client.demand.nothing_offered(agent_id)
        self._demand_changed(client, before)

    def recover(
        self,
        framework_id: FrameworkId,
        agent_id: AgentId,
        resources: Resources,
        *,
        offered: bool = False,
        refuse_ms: int | None,
        now_ms: int,
    ) -> None:
        """See `Allocator`."""
        if agent_id not in self._agents or framework_id not in self._frameworks or not resources:
            return
        if not offered and not refuse_ms:
            self._freed.add(agent_id, framework_id, resources)
            self._touched[agent_id] = None
            return
        self._book_freed()
        client, part = self._holder(framework_id, resources)
        returned = part.resources
        agent = self._agents[agent_id]
        duration_ms = refuse_duration_ms(refuse_ms)
        if duration_ms and client.subscribed and client.framework.active:
            self._filters.add(client, agent_id, returned, now_ms + duration_ms)
        elif offered:
            agent.passed.pop(client, None)
            agent.passed[client] = None
        before = _needs(client)
        if offered:
            self._take_off_offered(client, agent_id, returned)
            if client.demand is not None:
                client.demand.returned(agent_id, part.amounts)
                if agent_id not in client.offered:
                    client.demand.nothing_offered(agent_id)
        self._free(agent, client, part)
        self._demand_changed(client, before)

    def allocated(self, framework_id: FrameworkId, agent_id: AgentId, resources: Resources) -> None:
        """See `Allocator`."""
        self._book_freed()
        agent = self._agents.get(agent_id)
        if agent is None or not resources:
            return
        framework = self._frameworks.get(framework_id)
        if framework is None:
            framework = self._frameworks[framework_id] = Framework(framework_id)
        for part in self._parts.by_role(resources):
            client = framework.clients.get(part.role) or self._new_client(framework, part.role)
            agent.take(client, part.resources)
            self.taken(client, part.amounts)

    # -- asking

    def next_deadline_ms(self) -> int | None:
        """See `Allocator`."""
        return self._filters.next_end_ms()

    def explain(self, framework_id: FrameworkId, now_ms: int) -> list[NonOffer]:
        """See `Allocator`."""
        self._book_freed()
        self._expire_filters(now_ms)
        framework = self._frameworks.get(framework_id)
        return explain(framework_id, framework, list(self._agents.values()), self._filters, self._minima)

    def check(self) -> None:
        """See `Allocator`."""
        self._book_freed()
        for agent in self._agents.values():
            agent.check()
            for client in agent.held:
                assert client.framework.clients.get(client.role) is client, (
                    f"{client.name()} is forgotten but holds something"
                )
        self._filters.check()
        self._shapes.check(self._eligible)
        for framework in self._frameworks.values():
            assert framework.known or framework.clients, f"{framework.framework_id} is kept for nothing"
            for client in framework.clients.values():
                self._check_client(client)

    def _check_client(self, client: Client) -> None:
        holdings = sum(client in agent.held for agent in self._agents.values())
        assert client.holdings == holdings, f"{client.name()} holds on {holdings} agents, booked {client.holdings}"
        assert client.subscribed or holdings, f"{client.name()} is kept for nothing"
        assert client.eligible() == (client in self._eligible), f"{client.name()}: eligible is {client.eligible()}"
        for agent_id, resources in client.offered.items():
            held = self._agents[agent_id].held[client]
            assert resources, f"{client.name()} is offered nothing on {agent_id}"
            assert held.contains(resources), f"{client.name()} is offered {resources}, booked {held}"
        if client.demand is not None:
            client.demand.check(client.offered)

    # -- for policies

    def judge(self, agent: AgentBook, client: Client) -> Candidate | Reason:
        """Say what of an agent may be offered to an eligible client now, or why nothing."""
        return judge(agent, client, self._filters, self._minima)

    def grant(self, agent: AgentBook, client: Client, candidate: Candidate) -> None:
        """Book an offer."""
        resources = candidate.resources
        agent.take(client, resources)
        agent.passed.pop(client, None)
        already = client.offered.get(agent.agent_id)
        client.offered[agent.agent_id] = resources if already is None else already + resources
        self.taken(client, candidate.amounts)
        if candidate.want is not None:
            assert client.demand is not None
            client.demand.granted(agent.agent_id, candidate.want, candidate.units)
            self._restated[client] = None
            self._settle(client)

    def nothing_new(self, now_ms: int) -> bool:
        """Tell whether a run would find nothing to look at."""
        noted = self._touched or self._fresh or self._looks or self._restated or self._freed
        return not noted and not self._filters.any_due(now_ms)

    def begin(self, now_ms: int) -> tuple[list[AgentId], dict[Client, None], dict[AgentId, dict[Client, None]]]:
        """Start a run: return what to look at (touched agents sorted, fresh clients, looks), and forget it."""
        self._book_freed()
        self._expire_filters(now_ms)
        touched, fresh, looks = sorted(self._touched), self._fresh, self._looks
        if touched:
            self._touched = {}
        if fresh:
            self._fresh = {}
        if looks:
            self._looks = {}
        return touched, fresh, looks

    # -- inside

    def _new_client(self, framework: Framework, role: str) -> Client:
        client = framework.clients[role] = Client(framework, role)
        self.client_added(client)
        return client

    def _clients(self, framework_id: FrameworkId, roles: tuple[str, ...]) -> list[Client]:
        framework = self._frameworks.get(framework_id)
        clients = [framework.clients.get(role) for role in dict.fromkeys(roles)] if framework else []
        return [client for client in clients if client is not None and client.subscribed]

    def _set_framework_active(self, framework_id: FrameworkId, active: bool) -> None:
        framework = self._frameworks.get(framework_id)
        if framework is None:
            return
        framework.active = active
        for client in list(framework.clients.values()):
            if not active:
                self._filters.drop_client(client)
            self._settle(client)

    def _settle(self, client: Client) -> None:
        """Bring the notes on a client in line with what it is now."""
        eligible = client.eligible()
        if eligible != (client in self._eligible):
            if eligible:
                self._eligible[client] = None
                self._fresh[client] = None
                self._restated[client] = None
            else:
                del self._eligible[client]
                self._fresh.pop(client, None)
            self.eligibility_changed(client, eligible)
        self._shapes.note(client, eligible)
        if not client.subscribed and not client.holdings:
            framework = client.framework
            if framework.clients.pop(client.role, None) is not None:
                self._restated.pop(client, None)
                self.client_removed(client)
            if not framework.known and not framework.clients:
                self._frameworks.pop(framework.framework_id, None)

    def _demand_changed(self, client: Client, before: dict[Want, int]) -> None:
        """Settle a client, and look at every agent for it where that could give what the last run could not.

        More of what it waited for already gives nothing new: every agent has been looked at for that. Unless an offer was
        kept from it for its size: by its own smallest offer, or by a filter that contained it.
        """
        self._settle(client)
        if client.demand is None:
            return
        self._restated[client] = None
        by_size = bool(client.min_allocatable) or self._filters.any_of(client)
        for want, needed in _needs(client).items():
            waited_for = before.get(want, 0)
            if needed > waited_for and (by_size or not waited_for) and client in self._eligible:
                self._fresh[client] = None

    def _holder(self, framework_id: FrameworkId, resources: Resources, times: int = 1) -> tuple[Client, Part]:
        """Return whose these resources are, and what so many of them are."""
        part = self._parts.of(resources, times)
        framework = self._frameworks.get(framework_id)
        client = framework.clients.get(part.role) if framework else None
        assert client is not None, f"{framework_id} holds nothing in role {part.role}"
        return client, part

    def _take_off_offered(self, client: Client, agent_id: AgentId, resources: Resources) -> None:
        offered = client.offered.get(agent_id, EMPTY)
        assert offered.contains(resources), f"{client.name()} was offered {offered} of {agent_id}, not {resources}"
        rest = offered - resources
        if rest:
            client.offered[agent_id] = rest
        else:
            client.offered.pop(agent_id, None)

    def _free(self, agent: AgentBook, client: Client, part: Part) -> None:
        agent.give_back(client, part.resources)
        self.given_back(client, part.amounts)
        self._touched[agent.agent_id] = None

    def _book_freed(self) -> None:
        if not self._freed:
            return
        for agent_id, framework_id, resources, times in self._freed.drain():
            client, part = self._holder(framework_id, resources, times)
            self._free(self._agents[agent_id], client, part)
            self._settle(client)

    def _expire_filters(self, now_ms: int) -> None:
        for client, agent_id in self._filters.expire(now_ms):
            self._looks.setdefault(agent_id, {})[client] = None


def _needs(client: Client) -> dict[Want, int]:
    """How many units of each shape are still to be offered."""
    return {want: want.needed() for want in client.demand.wants} if client.demand is not None else {}
