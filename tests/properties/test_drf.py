"""Fair shares and the allocator's books, held against oracles that know no cleverness.

Sorter: the order of an oracle that recomputes every share from the leaves with exact fractions, level by level.
Allocator: progressive filling, one unit at a time to whoever is poorest and can use it, in cubic time.
Books: whatever the master says in whatever order, safety and completeness hold; a sentence each at `Books.invariants`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mesolite.ids import AgentId, FrameworkId
from mesolite.master.allocator import DrfSorter, Grant, HierarchicalDrfAllocator, HoldLimits, Reason, Totals
from mesolite.protocol import Demand
from mesolite.resources import EMPTY, Quantities, Resources

#: The machine is shared: no deadlines.
fast = settings(max_examples=100)

ROLES = ("a", "b", "b/x", "b/y", "b/y/z", "c/x")
NAMES = ("cpus", "mem")

amounts: st.SearchStrategy[dict[str, int]] = st.dictionaries(
    st.sampled_from(NAMES).map(str), st.integers(1, 6), min_size=1
)


# -- the sorter


@dataclass
class OracleClient:
    """A client as the oracle sees it."""

    path: str
    active: bool
    held: dict[str, int] = field(default_factory=dict[str, int])
    gifts: int = 0


def oracle_order(
    clients: list[OracleClient], totals: dict[str, int], weights: dict[str, Fraction], below: str = ""
) -> list[str]:
    """Sort the children of `below` by share, gifts and path, and each child's own children likewise."""
    depth = len(below.split("/")) if below else 0
    branches: dict[str, list[OracleClient]] = {}
    for client in clients:
        parts = client.path.split("/")
        if below and parts[:depth] != below.split("/"):
            continue
        name = "." if len(parts) == depth else parts[depth]
        branches.setdefault(name, []).append(client)
    keyed: list[tuple[Fraction, int, str, list[str]]] = []
    for name, members in branches.items():
        path = f"{below}/{name}" if below else name
        held = {each: sum(member.held.get(each, 0) for member in members) for each in NAMES}
        share = max(Fraction(held[each], totals[each]) for each in NAMES) / weights.get(path, Fraction(1))
        is_leaf = name == "." or [member.path for member in members] == [path]
        order = [m.path for m in members if m.active] if is_leaf else oracle_order(clients, totals, weights, path)
        if order:
            keyed.append((share, sum(member.gifts for member in members), path, order))
    return [client for *_, order in sorted(keyed) for client in order]


@fast
@given(
    data=st.data(),
    paths=st.lists(st.sampled_from(ROLES), min_size=1, unique=True),
    weights=st.dictionaries(st.sampled_from(["a", "b", "b/x", "b/y", "c"]), st.integers(1, 3000)),
)
def test_the_order_is_that_of_exact_shares(data: st.DataObject, paths: list[str], weights: dict[str, int]) -> None:
    """Gifts, returns, switching on and off and growing totals, in any order; the order is asked for in between."""
    totals = Totals()
    totals.add({"cpus": 7, "mem": 11})
    sorter = DrfSorter(totals)
    for path, weight in weights.items():
        sorter.set_weight(path, weight)
    exact = {path: Fraction(weight, 1000) for path, weight in weights.items()}
    clients = {path: OracleClient(path, active=False) for path in paths}
    for path in paths:
        sorter.add(path)
        if data.draw(st.integers(0, 3)):
            sorter.activate(path)
            clients[path].active = True
        clients[path].held = data.draw(amounts)
        clients[path].gifts = 1
        sorter.allocated(path, clients[path].held)
    for _ in range(data.draw(st.integers(1, 15))):
        client = clients[data.draw(st.sampled_from(paths))]
        match data.draw(st.sampled_from(["gift", "return", "on", "off", "grow", "ask"])):
            case "gift":
                gift = data.draw(amounts)
                sorter.allocated(client.path, gift)
                client.gifts += 1
                client.held = {name: client.held.get(name, 0) + gift.get(name, 0) for name in NAMES}
            case "return":
                sorter.recovered(client.path, {name: amount for name, amount in client.held.items() if amount})
                client.held = {}
            case "on":
                sorter.activate(client.path)
                client.active = True
            case "off":
                sorter.deactivate(client.path)
                client.active = False
            case "grow":
                totals.add(data.draw(amounts))
            case _:
                sorter.check()
        expected = oracle_order(list(clients.values()), totals.amounts, exact)
        if data.draw(st.booleans()):
            order = list(sorter.order())
            assert order == expected
            assert sorted(order, key=sorter.rank) == order
    assert list(sorter.order()) == oracle_order(list(clients.values()), totals.amounts, exact)


# -- progressive filling


@dataclass
class Wish:
    """One framework's demand, in whole CPUs and MiB."""

    cpus: int
    mem: int
    count: int
    units: int = 0


def oracle_fill(total: tuple[int, int], wishes: dict[str, Wish]) -> None:
    """Give one unit at a time to the first in order of share, gifts and name who wants it and whom it fits."""
    cpus, mem = total
    while True:
        poorest = sorted(
            wishes,
            key=lambda name: (
                max(
                    Fraction(wishes[name].units * wishes[name].cpus, total[0]),
                    Fraction(wishes[name].units * wishes[name].mem, total[1]),
                ),
                wishes[name].units,
                name,
            ),
        )
        for name in poorest:
            wish = wishes[name]
            if wish.units < wish.count and wish.cpus <= cpus and wish.mem <= mem:
                wish.units += 1
                cpus -= wish.cpus
                mem -= wish.mem
                break
        else:
            return


@fast
@given(
    total=st.tuples(st.integers(1, 40), st.integers(32, 60)),
    drawn=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=5),
    own_roles=st.booleans(),
)
def test_demands_are_filled_progressively(
    total: tuple[int, int], drawn: list[tuple[int, int, int]], own_roles: bool
) -> None:
    """Whether the frameworks compete as roles or within one role, one run over one agent fills as the oracle does."""
    wishes = {f"F{number}": Wish(*numbers) for number, numbers in enumerate(drawn)}
    allocator = HierarchicalDrfAllocator()
    allocator.add_agent(AgentId("a1"), "h", Resources.parse(f"cpus:{total[0]};mem:{total[1]}"), (), {})
    for name, wish in wishes.items():
        role = name if own_roles else "*"
        shape = Resources.parse(f"cpus:{wish.cpus};mem:{wish.mem}").to_wire()
        allocator.add_framework(FrameworkId(name), (role,))
        allocator.set_demand(FrameworkId(name), (Demand(role=role, shape=shape, count=wish.count),))
    given_cpus = {grant.framework_id: grant.resources.scalar("cpus") // 1000 for grant in allocator.allocate(0)}
    allocator.check()
    oracle_fill(total, wishes)
    assert {name: given_cpus.get(FrameworkId(name), 0) for name in wishes} == {
        name: wish.units * wish.cpus for name, wish in wishes.items()
    }


# -- the books

FRAMEWORKS = tuple(FrameworkId(name) for name in ("A", "B", "C"))
AGENTS = tuple(AgentId(name) for name in ("a1", "a2", "a3"))
TOTALS = tuple(Resources.parse(text) for text in ("cpus:4;mem:256", "cpus:2;mem:512", "cpus:1;cpus(b):2;mem:128"))
SHAPES = tuple(Resources.parse(text) for text in ("cpus:1;mem:32", "cpus:0.5;mem:128", "cpus:3;mem:64"))


@dataclass
class Refusal:
    """A filter, as the framework remembers it."""

    grant: Grant
    until_ms: int


class Books(RuleBasedStateMachine):
    """Plays a master that says anything, to two allocators at once, and keeps its own simple books."""

    @initialize()
    def start(self) -> None:
        """Make twins that should never differ."""
        limits = HoldLimits(after_ms=700, for_ms=1500)
        self.twins = (HierarchicalDrfAllocator(hold_limits=limits), HierarchicalDrfAllocator(hold_limits=limits))
        self.now_ms = 0
        self.agents: dict[AgentId, Resources] = {}
        self.roles: dict[FrameworkId, tuple[str, ...]] = {}
        self.offers: list[Grant] = []
        self.used: list[Grant] = []
        self.refusals: list[Refusal] = []
        self.connected: dict[FrameworkId, bool] = {}
        self.demanding: dict[FrameworkId, None] = {}
        for agent_id, total in zip(AGENTS[:2], TOTALS, strict=False):
            self.register(agent_id, total)
        for framework_id in FRAMEWORKS[:2]:
            self.subscribe(framework_id, ["a", "b"])

    @rule(framework_id=st.sampled_from(FRAMEWORKS), roles=st.lists(st.sampled_from(ROLES[:4]), min_size=1, unique=True))
    def subscribe(self, framework_id: FrameworkId, roles: list[str]) -> None:
        for twin in self.twins:
            twin.add_framework(framework_id, tuple(roles), min_allocatable={"a": (Quantities.parse("cpus:2"),)})
        self.connected[framework_id] = True
        left = set(self.roles.get(framework_id, ())) - set(roles)
        self.roles[framework_id] = tuple(roles)
        self._forget_refusals(lambda grant: grant.framework_id == framework_id and grant.role in left)

    @precondition(lambda self: self.roles)
    @rule(data=st.data(), on=st.booleans())
    def switch(self, data: st.DataObject, on: bool) -> None:
        """Suppress or revive one of a framework's roles."""
        framework_id = data.draw(st.sampled_from(sorted(self.roles)))
        role = data.draw(st.sampled_from(self.roles[framework_id]))
        for twin in self.twins:
            (twin.revive if on else twin.suppress)(framework_id, (role,))
        if on:
            self._forget_refusals(lambda grant: grant.framework_id == framework_id and grant.role == role)

    @precondition(lambda self: self.roles)
    @rule(data=st.data(), on=st.booleans())
    def connect(self, data: st.DataObject, on: bool) -> None:
        framework_id = data.draw(st.sampled_from(sorted(self.roles)))
        for twin in self.twins:
            (twin.activate_framework if on else twin.deactivate_framework)(framework_id)
        self.connected[framework_id] = on
        if not on:
            self._forget_refusals(lambda grant: grant.framework_id == framework_id)

    @precondition(lambda self: self.roles)
    @rule(
        data=st.data(),
        wanted=st.none() | st.lists(st.tuples(st.sampled_from(SHAPES), st.integers(0, 4)), max_size=3),
    )
    def demand(self, data: st.DataObject, wanted: list[tuple[Resources, int]] | None) -> None:
        framework_id = data.draw(st.sampled_from(sorted(self.roles)))
        role = data.draw(st.sampled_from(self.roles[framework_id]))
        demands = None
        self.demanding.pop(framework_id, None)
        if wanted is not None:
            self.demanding[framework_id] = None
            demands = tuple(Demand(role=role, shape=shape.to_wire(), count=count) for shape, count in wanted)
        for twin in self.twins:
            twin.set_demand(framework_id, demands)

    @rule(agent_id=st.sampled_from(AGENTS), total=st.sampled_from(TOTALS))
    def register(self, agent_id: AgentId, total: Resources) -> None:
        """A new agent; or a known one, which keeps what it has or grows."""
        if agent_id not in self.agents:
            self.agents[agent_id] = total
            for twin in self.twins:
                twin.add_agent(agent_id, "h", total, (), {})
        else:
            self.agents[agent_id] += total
            for twin in self.twins:
                twin.update_agent(agent_id, "h", self.agents[agent_id], ())

    @precondition(lambda self: self.agents)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        agent_id = data.draw(st.sampled_from(sorted(self.agents)))
        del self.agents[agent_id]
        self.offers = [offer for offer in self.offers if offer.agent_id != agent_id]
        self.used = [task for task in self.used if task.agent_id != agent_id]
        self._forget_refusals(lambda grant: grant.agent_id == agent_id)
        for twin in self.twins:
            twin.remove_agent(agent_id)

    @precondition(lambda self: self.offers)
    @rule(data=st.data(), refuse_ms=st.sampled_from([None, 0, 300, 1000]))
    def decline(self, data: st.DataObject, refuse_ms: int | None) -> None:
        offer = data.draw(st.sampled_from(self.offers))
        self.offers.remove(offer)
        self._recover(offer, offered=True, refuse_ms=refuse_ms)
        if refuse_ms and offer.role in self.roles[offer.framework_id] and self.connected[offer.framework_id]:
            self.refusals.append(Refusal(offer, self.now_ms + refuse_ms))

    @precondition(lambda self: self.offers)
    @rule(data=st.data(), fraction=st.integers(1, 4))
    def accept(self, data: st.DataObject, fraction: int) -> None:
        """Use a part of an offer; the rest goes back without a filter."""
        offer = data.draw(st.sampled_from(self.offers))
        self.offers.remove(offer)
        part = {name: amount // fraction for name, amount in offer.resources.quantities()}
        task = offer.resources.shrink_to(Quantities(part))
        for twin in self.twins:
            twin.accepted(offer.framework_id, offer.agent_id, task)
        if task:
            self.used.append(_of(offer, task))
        if offer.resources - task:
            self._recover(_of(offer, offer.resources - task), offered=True, refuse_ms=None)

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.used))
        self.used.remove(task)
        self._recover(task, offered=False, refuse_ms=None)

    @rule(by_ms=st.sampled_from([0, 1, 250, 1000]))
    def allocate(self, by_ms: int) -> None:
        """Run; a second run has nothing to add, and nothing is left that could be offered."""
        self.now_ms += by_ms
        self.refusals = [refusal for refusal in self.refusals if refusal.until_ms > self.now_ms]
        grants = self.twins[0].allocate(self.now_ms)
        assert grants == self.twins[1].allocate(self.now_ms), "the same verbs gave other grants"
        for grant in grants:
            assert grant.role in self.roles[grant.framework_id], "a role that is not subscribed to got an offer"
            assert self.connected[grant.framework_id], "a framework that is not connected got an offer"
            for refusal in self.refusals:
                ignored = _whom(grant) == _whom(refusal.grant) and refusal.grant.resources.contains(grant.resources)
                # Of a demand what could have been given is compared, which slices of it may be smaller than.
                assert not ignored or grant.framework_id in self.demanding, "a filter was ignored"
        self.offers.extend(grants)
        for twin in self.twins:
            assert twin.allocate(self.now_ms) == [], "one run left something for the next"
            for framework_id in self.roles:
                waiting = [why for why in twin.explain(framework_id, self.now_ms) if why.reason is Reason.WAITING]
                assert waiting == [], "a run left something that could be offered"
            deadline = twin.next_deadline_ms()
            assert deadline is None or deadline > self.now_ms, "a deadline has passed"

    @invariant()
    def books_agree(self) -> None:
        """The allocator's own checks hold (I3, I6, shares), and no agent is over-committed by the master's books (I1)."""
        for twin in self.twins:
            twin.check()
        for agent_id, total in self.agents.items():
            held = sum((each.resources for each in (*self.offers, *self.used) if each.agent_id == agent_id), EMPTY)
            assert total.contains(held.unallocated()), f"{agent_id} is over-committed"

    def _recover(self, grant: Grant, *, offered: bool, refuse_ms: int | None) -> None:
        for twin in self.twins:
            twin.recover(
                grant.framework_id,
                grant.agent_id,
                grant.resources,
                offered=offered,
                refuse_ms=refuse_ms,
                now_ms=self.now_ms,
            )

    def _forget_refusals(self, of: Callable[[Grant], bool]) -> None:
        self.refusals = [refusal for refusal in self.refusals if not of(refusal.grant)]


def _whom(grant: Grant) -> tuple[str, str, str]:
    return grant.framework_id, grant.role, grant.agent_id


def _of(grant: Grant, resources: Resources) -> Grant:
    return Grant(framework_id=grant.framework_id, role=grant.role, agent_id=grant.agent_id, resources=resources)


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=150, stateful_step_count=40)
