"""The allocator that clusters run: fair between roles, then between the frameworks of a role.

A run visits agents one by one, in the order of their ids. On each it asks clients in the order of the sorters, which is
brought up to date after every gift (reference 1.11, stage 2):

- A client that never stated its demand gets everything that its role may have of the agent: Mesos's coarse grain.
- A client with a demand gets whole units of its shapes. While others want something too it gets them in slices, and the
  order is asked anew after each slice: progressive filling, so that several share an agent in one run.
- A client that gave an offer of this agent back without setting a filter is asked after all others, so that neither a
  framework that declines everything nor one that lets offers time out can keep an agent from the rest.

Quotas are not here yet. They belong before the visit as described: a first stage for unmet guarantees, and a `shrink_to` of
the candidate in `_offer` for limits and headroom.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from mesolite.ids import AgentId, FrameworkId
from mesolite.resources import Quantities, Resources

from .agents import AgentBook
from .books import Books
from .carving import Amounts
from .clients import Client
from .contract import Grant, Reason
from .drf import DrfSorter
from .holds import HoldLimits, Holds
from .rules import DEFAULT_MIN_ALLOCATABLE, Candidate
from .shapes import fits, needed_keys
from .sorter import Sorter, SorterFactory, Totals

#: How finely the cluster is shared between demands: an even part of it is given in so many slices. Shares then come within a
#: sixteenth of an even part of those that giving unit by unit would reach, and a run has a bounded number of steps. On a small
#: cluster a slice is one unit; on a large one it is whole agents, which are then not broken into many small offers.
SLICES: Final = 16

#: Where more than one in so many eligible clients is fresh, asking everybody costs less than sorting those out on each agent.
MANY_FRESH: Final = 4


class HierarchicalDrfAllocator(Books):
    """See the module, and `Allocator` for the verbs."""

    def __init__(
        self,
        *,
        role_sorter: SorterFactory = DrfSorter,
        framework_sorter: SorterFactory = DrfSorter,
        min_allocatable: tuple[Quantities, ...] = DEFAULT_MIN_ALLOCATABLE,
        hold_limits: HoldLimits | None = None,
    ) -> None:
        """Start empty.

        Args:
            role_sorter: Orders the roles.
            framework_sorter: Orders the frameworks of one role.
            min_allocatable: The smallest useful offer for frameworks that do not say: one of these sets.
            hold_limits: How large demands are helped; None for the defaults.
        """
        super().__init__(min_allocatable=min_allocatable)
        self._totals = Totals()
        #: Orders the roles.
        self.role_sorter = role_sorter(self._totals, "")
        self._new_framework_sorter = framework_sorter
        #: Per role: the sorter of its frameworks, its clients, and how many of them are eligible.
        self._sorters: dict[str, Sorter] = {}
        self._members: dict[str, dict[FrameworkId, Client]] = {}
        self._eligible_in: dict[str, int] = {}
        #: Roles whose sorter knows that this run began.
        self._begun: dict[str, None] = {}
        self._holds = Holds(hold_limits or HoldLimits())
        #: Every agent's id, sorted; None after agents came or went.
        self._agent_order: list[AgentId] | None = None

    def set_weight(self, role: str, weight_milli: int) -> None:
        """See `Allocator`."""
        self.role_sorter.set_weight(role, weight_milli)

    # -- asking

    def allocate(self, now_ms: int) -> list[Grant]:
        """See `Allocator`."""
        if self.nothing_new(now_ms) and not self._holds.any_due(now_ms):
            return []
        self._touch(self._holds.expire(now_ms))
        self.role_sorter.begin_run()
        self._begun.clear()
        grants: list[Grant] = []
        going = True
        while going:
            touched, fresh, looks = self.begin(now_ms)
            for agent_id in touched:
                grants.extend(self._visit(self._agents[agent_id], None))
            if fresh or looks:
                grants.extend(self._look_again(touched, fresh, looks))
            self._watch_waiting(now_ms)
            # A second round comes only where a gift ended a hold on an agent that had been visited already.
            going = bool(self._touched)
        self._holds.begin(self._agents.values(), self._eligible, self._filters, now_ms)
        return grants

    def next_deadline_ms(self) -> int | None:
        """See `Allocator`."""
        deadlines = (super().next_deadline_ms(), self._holds.next_deadline_ms())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def check(self) -> None:
        """See `Allocator`."""
        super().check()
        self._holds.check(self._agents.values())
        self.role_sorter.check()
        for role, sorter in self._sorters.items():
            sorter.check()
            assert self._members[role], f"role {role} is kept for nothing"
            eligible = sum(client in self._eligible for client in self._members[role].values())
            assert eligible == self._eligible_in[role], (
                f"role {role}: {eligible} eligible, booked {self._eligible_in[role]}"
            )
        summed: dict[str, int] = {}
        for agent in self._agents.values():
            for name, amount in agent.total_scalars.items():
                summed[name] = summed.get(name, 0) + amount
        assert summed == self._totals.amounts, f"agents sum to {summed}, booked {self._totals.amounts}"

    # -- a run

    def _look_again(
        self, touched: Collection[AgentId], fresh: dict[Client, None], looks: dict[AgentId, dict[Client, None]]
    ) -> Iterator[Grant]:
        """Visit agents on which nothing was freed, for those clients only that have not been asked in vain before."""
        done = dict.fromkeys(touched)
        keys = {key: None for client in fresh for key in needed_keys(client)}
        everybody = len(fresh) > len(self._eligible) // MANY_FRESH
        for agent_id in self._sorted_agents() if fresh else sorted(looks):
            agent = self._agents.get(agent_id)
            if agent is None or not agent.free or agent_id in done:
                continue
            if everybody:
                yield from self._visit(agent, None)
                continue
            amounts = agent.all_free_amounts()
            here = looks.get(agent_id, ())
            if here or any(fits(key, amounts) for key in keys):
                among = {client: None for client in (*fresh, *here) if client in self._eligible}
                yield from self._visit(agent, among)

    def _visit(self, agent: AgentBook, among: dict[Client, None] | None) -> Iterator[Grant]:
        """Give an agent away: to anybody, or among some clients only."""
        gifts: dict[Client, Resources] = {}
        hold = agent.hold
        if hold is not None:
            self._give(agent, {hold.client: None}, gifts)
            if agent.hold is not hold:
                # The hold has done its work; whatever is left is for anybody.
                among = None
        self._give(agent, among, gifts)
        for client, resources in gifts.items():
            yield Grant(
                framework_id=client.framework_id,
                role=client.role,
                agent_id=agent.agent_id,
                resources=resources.allocated_to(client.role),
            )

    def _give(self, agent: AgentBook, among: dict[Client, None] | None, gifts: dict[Client, Resources]) -> None:
        #: Eligible clients that get no more of this agent: what stands against something stands against less as well.
        out: dict[Client, None] = {}
        while agent.free and (among is not None or self._shapes.any_fits(agent.all_free_amounts())):
            for client in self._turns(agent, among):
                if client in out:
                    continue
                others = (len(self._eligible) if among is None else len(among)) - len(out) - 1
                most = self.judge(agent, client)
                if isinstance(most, Reason):
                    out[client] = None
                    continue
                gift = most if others <= 0 else self._slice(agent, client, most, others + 1)
                self.grant(agent, client, gift)
                self._holds.served(client, agent, gift.want)
                gifts[client] = gifts[client] + gift.resources if client in gifts else gift.resources
                if gift is most and (client.demand is None or len(client.demand.wants) == 1):
                    if others <= 0:
                        return
                    if client in self._eligible:
                        out[client] = None
                break
            else:
                return

    def _slice(self, agent: AgentBook, client: Client, most: Candidate, rivals: int) -> Candidate:
        """A part of what a client may have, so that its rivals get their turn in between."""
        want = most.want
        if want is None or most.units == 1:
            return most
        totals = self._totals.amounts
        even = [totals[name] // (amount * SLICES * rivals) for name, amount in want.amounts.items() if name in totals]
        units = max(1, min(even, default=most.units))
        if units >= most.units:
            return most
        part = agent.cut(want, client.role, units)
        return most if part is None else Candidate(part, want.amounts_of(units), want, units)

    # -- whose turn it is

    def _turns(self, agent: AgentBook, among: dict[Client, None] | None) -> Iterator[Client]:
        """Eligible clients, the next first. Void after a gift."""
        order = self._fair_order() if among is None else self._fair_order_among(among)
        if not agent.passed:
            return order
        return self._passed_last(agent, list(order))

    def _passed_last(self, agent: AgentBook, order: list[Client]) -> Iterator[Client]:
        yield from (client for client in order if client not in agent.passed)
        waiting = dict.fromkeys(order)
        yield from (client for client in agent.passed if client in waiting)

    def _fair_order(self) -> Iterator[Client]:
        for role in self.role_sorter.order():
            members = self._members[role]
            for framework_id in self._sorter(role).order():
                yield members[FrameworkId(framework_id)]

    def _fair_order_among(self, clients: Iterable[Client]) -> Iterator[Client]:
        eligible = [client for client in clients if client in self._eligible]
        if len(eligible) > 1:
            eligible.sort(key=lambda c: (self.role_sorter.rank(c.role), self._sorter(c.role).rank(c.framework_id)))
        return iter(eligible)

    def _sorter(self, role: str) -> Sorter:
        sorter = self._sorters[role]
        if role not in self._begun:
            self._begun[role] = None
            sorter.begin_run()
        return sorter

    # -- what the books tell

    def client_added(self, client: Client) -> None:
        """See `Books`."""
        role = client.role
        if role not in self._sorters:
            self.role_sorter.add(role)
            self._sorters[role] = self._new_framework_sorter(self._totals, role)
            self._members[role] = {}
            self._eligible_in[role] = 0
        self._sorters[role].add(client.framework_id)
        self._members[role][client.framework_id] = client

    def client_removed(self, client: Client) -> None:
        """See `Books`."""
        role = client.role
        self._sorters[role].remove(client.framework_id)
        del self._members[role][client.framework_id]
        if not self._members[role]:
            self.role_sorter.remove(role)
            del self._sorters[role], self._members[role], self._eligible_in[role]

    def eligibility_changed(self, client: Client, eligible: bool) -> None:
        """See `Books`."""
        role = client.role
        self._eligible_in[role] += 1 if eligible else -1
        if eligible:
            self._sorters[role].activate(client.framework_id)
            if self._eligible_in[role] == 1:
                self.role_sorter.activate(role)
        else:
            self._sorters[role].deactivate(client.framework_id)
            if not self._eligible_in[role]:
                self.role_sorter.deactivate(role)
            self._end_hold(client)

    def taken(self, client: Client, amounts: Amounts) -> None:
        """See `Books`."""
        self.role_sorter.allocated(client.role, amounts)
        self._sorters[client.role].allocated(client.framework_id, amounts)

    def given_back(self, client: Client, amounts: Amounts) -> None:
        """See `Books`."""
        self.role_sorter.recovered(client.role, amounts)
        self._sorters[client.role].recovered(client.framework_id, amounts)

    def total_changed(self, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        """See `Books`."""
        self._totals.subtract(before)
        self._totals.add(after)
        self._agent_order = None

    def agent_changed(self, agent: AgentBook) -> None:
        """See `Books`."""
        if agent.hold is not None:
            self._end_hold(agent.hold.client)

    # -- inside

    def _watch_waiting(self, now_ms: int) -> None:
        restated, self._restated = self._restated, {}
        for client in restated:
            agent_id = self._holds.watch(client, now_ms)
            if agent_id is not None:
                self._touch([agent_id])

    def _end_hold(self, client: Client) -> None:
        agent_id = self._holds.release(client)
        if agent_id is not None:
            self._touch([agent_id])

    def _touch(self, agent_ids: Iterable[AgentId]) -> None:
        for agent_id in agent_ids:
            self._touched[agent_id] = None

    def _sorted_agents(self) -> list[AgentId]:
        if self._agent_order is None:
            self._agent_order = sorted(self._agents)
        return self._agent_order
