"""Placement: what fits goes somewhere, nothing is taken twice, and what is taken keeps its identity."""

from hypothesis import given
from hypothesis import strategies as st

from mesolite.frameworks.driver.placement import AttributeEquals, Plan, Want, demands, place
from mesolite.frameworks.driver.settings import MAX_DEMANDS
from mesolite.ids import AgentId, FrameworkId, OfferId
from mesolite.protocol import Attribute, Demand, Offer
from mesolite.resources import Range, Resource, Resources, ResourceType, scalars

SMALL = scalars(cpus=1, mem_mib=100).to_wire()
LARGE = scalars(cpus=3, mem_mib=300).to_wire()


def offer(
    name: str,
    resources: str = "cpus:4;mem:400",
    *,
    agent: str = "agent-1",
    role: str = "*",
    attributes: tuple[Attribute, ...] = (),
) -> Offer:
    return Offer(
        offer_id=OfferId(name),
        framework_id=FrameworkId("batch-17"),
        agent_id=AgentId(agent),
        hostname=f"{agent}.example",
        resources=Resources.parse(resources).allocated_to(role).to_wire(),
        allocation_role=role,
        attributes=attributes,
    )


def outline(plan: Plan[str]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Which want goes where, and how often."""
    return [(each.agent_id, [(fill.key, fill.count) for fill in each.fills]) for each in plan.placements]


def test_as_many_as_fit_go_onto_an_offer() -> None:
    plan = place([offer("offer-1")], [Want(key="small", shape=SMALL, count=10)])
    assert outline(plan) == [("agent-1", [("small", 4)])]
    assert plan.unused == ()


def test_no_more_than_wanted() -> None:
    plan = place([offer("offer-1"), offer("offer-2", agent="agent-2")], [Want(key="small", shape=SMALL, count=3)])
    assert outline(plan) == [("agent-1", [("small", 3)])]
    assert plan.unused == ("offer-2",)


def test_earlier_wants_are_served_first_and_later_ones_fill_the_rest() -> None:
    wants = [Want(key="large", shape=LARGE, count=1), Want(key="small", shape=SMALL, count=5)]
    assert outline(place([offer("offer-1")], wants)) == [("agent-1", [("large", 1), ("small", 1)])]


def test_the_scarcest_resource_decides() -> None:
    plan = place([offer("offer-1", "cpus:64;mem:250")], [Want(key="small", shape=SMALL, count=10)])
    assert outline(plan) == [("agent-1", [("small", 2)])]


def test_a_resource_that_is_not_offered_at_all_fits_nothing() -> None:
    shape = scalars(cpus=1, gpus=1).to_wire()
    plan = place([offer("offer-1")], [Want(key="gpu", shape=shape, count=1)])
    assert plan == Plan(placements=(), unused=(OfferId("offer-1"),))


def test_offers_of_one_agent_and_role_are_used_together() -> None:
    offers = [offer("offer-1", "cpus:2"), offer("elsewhere", agent="agent-2"), offer("offer-2", "mem:400")]
    plan = place(offers, [Want(key="small", shape=SMALL, count=2)])
    assert outline(plan) == [("agent-1", [("small", 2)])]
    assert plan.placements[0].offer_ids == ("offer-1", "offer-2")
    assert plan.unused == ("elsewhere",)


def test_offers_of_another_role_are_not_touched() -> None:
    offers = [offer("offer-1", role="ads"), offer("offer-2", role="web")]
    plan = place(offers, [Want(key="small", shape=SMALL, count=9, role="web")])
    assert [each.offer_ids for each in plan.placements] == [("offer-2",)]
    assert plan.unused == ("offer-1",)


def test_constraints_choose_agents() -> None:
    ssd = (Attribute("disk", "ssd"),)
    offers = [offer("offer-1"), offer("offer-2", agent="agent-2", attributes=ssd)]
    wants = [Want(key="small", shape=SMALL, count=9, constraints=(AttributeEquals("disk", "ssd"),))]
    assert outline(place(offers, wants)) == [("agent-2", [("small", 4)])]
    wants = [Want(key="small", shape=SMALL, count=9, constraints=(AttributeEquals("hostname", "agent-1.example"),))]
    assert outline(place(offers, wants)) == [("agent-1", [("small", 4)])]


def test_reserved_resources_are_taken_first_and_keep_their_reservation() -> None:
    offers = [offer("offer-1", "cpus(ads):1.5;cpus:2;mem:400", role="ads")]
    plan = place(offers, [Want(key="small", shape=SMALL, count=3, role="ads")])
    fills = plan.placements[0].fills
    assert [fill.count for fill in fills] == [1, 2]
    assert [str(Resources.of(fill.resources).unallocated()) for fill in fills[:1]] == [
        str(Resources.parse("cpus(ads):1;mem:100"))
    ]
    total = Resources.EMPTY
    for fill in fills:
        for _ in range(fill.count):
            total += Resources.of(fill.resources)
    assert Resources.of(offers[0].resources).contains(total)


def test_a_task_may_straddle_reserved_and_unreserved() -> None:
    offers = [offer("offer-1", "cpus(ads):0.5;cpus:0.5;mem:100", role="ads")]
    plan = place(offers, [Want(key="small", shape=SMALL, count=3, role="ads")])
    assert outline(plan) == [("agent-1", [("small", 1)])]
    assert Resources.of(plan.placements[0].fills[0].resources) == Resources.of(offers[0].resources)


def test_a_shape_that_is_not_scalar_or_asks_for_nothing_is_never_placed() -> None:
    ports = (Resource("ports", ResourceType.RANGES, ranges=(Range(1, 2),)),)
    zero = (Resource("cpus", ResourceType.SCALAR, scalar=0),)
    for shape in (ports, zero, ()):
        assert place([offer("offer-1")], [Want(key="odd", shape=shape, count=1)]).placements == ()


def test_revocable_resources_are_left_alone() -> None:
    revocable = Resource("cpus", ResourceType.SCALAR, scalar=8000, revocable=True, allocation_role="*")
    base = offer("offer-1", "mem:400")
    mixed = Offer(
        offer_id=base.offer_id,
        framework_id=base.framework_id,
        agent_id=base.agent_id,
        hostname=base.hostname,
        resources=(*base.resources, revocable),
        allocation_role="*",
    )
    assert place([mixed], [Want(key="small", shape=SMALL, count=1)]).placements == ()


def test_demand_counts_equal_shapes_of_a_role_together() -> None:
    wants = [
        Want(key="a", shape=SMALL, count=2),
        Want(key="b", shape=LARGE, count=1),
        Want(key="c", shape=SMALL, count=3, constraints=(AttributeEquals("disk", "ssd"),)),
        Want(key="d", shape=SMALL, count=4, role="ads"),
        Want(key="e", shape=LARGE, count=0, role="ads"),
    ]
    assert demands(wants) == (
        Demand(role="*", shape=SMALL, count=5),
        Demand(role="*", shape=LARGE, count=1),
        Demand(role="ads", shape=SMALL, count=4),
    )


def test_demand_names_no_more_shapes_than_a_master_takes() -> None:
    wants = [
        Want(key=str(number), shape=scalars(cpus=number).to_wire(), count=1) for number in range(1, MAX_DEMANDS + 9)
    ]
    assert len(demands(wants)) == MAX_DEMANDS


amounts = st.integers(min_value=1, max_value=4000).map(lambda milli: milli / 1000)


@given(
    pools=st.lists(st.tuples(amounts, amounts, st.sampled_from(["agent-1", "agent-2"])), max_size=5),
    wanted=st.lists(st.tuples(amounts, amounts, st.integers(0, 6)), max_size=4),
)
def test_whatever_is_offered_and_wanted_it_fits_and_nothing_more_would(
    pools: list[tuple[float, float, str]], wanted: list[tuple[float, float, int]]
) -> None:
    """Safety: what an ACCEPT launches is contained in its offers. Progress: no want that is left over fits into what is left."""
    offers = [
        offer(f"offer-{number}", f"cpus:{cpus};mem:{mem}", agent=agent)
        for number, (cpus, mem, agent) in enumerate(pools)
    ]
    shapes = [scalars(cpus=cpus, mem_mib=mem) for cpus, mem, _ in wanted]
    wants = [Want(key=at, shape=shapes[at].to_wire(), count=wanted[at][2]) for at in range(len(wanted))]
    plan = place(offers, wants)
    left = {at: want.count for at, want in enumerate(wants)}
    used = {each.offer_id for placement in plan.placements for each in placement.offers}
    assert used | set(plan.unused) == {each.offer_id for each in offers}
    remainders: list[Resources] = []
    for placement in plan.placements:
        remaining = Resources.EMPTY
        for each in placement.offers:
            remaining += Resources.of(each.resources)
        for fill in placement.fills:
            for _ in range(fill.count):
                remaining -= Resources.of(fill.resources)
            assert Resources.of(fill.resources).unallocated() == shapes[fill.key]
            left[fill.key] -= fill.count
        remainders.append(remaining.unallocated())
    unused = set(plan.unused)
    for agent in ("agent-1", "agent-2"):
        idle = Resources.EMPTY
        for each in offers:
            if each.offer_id in unused and each.agent_id == agent:
                idle += Resources.of(each.resources)
        remainders.append(idle.unallocated())
    assert all(count >= 0 for count in left.values())
    for at, count in left.items():
        assert count == 0 or not any(remainder.contains(shapes[at]) for remainder in remainders)
