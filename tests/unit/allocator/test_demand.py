"""Demand: what covers what, and how units are cut."""

import pytest

from mesolite.ids import AgentId
from mesolite.master.allocator.carving import carve
from mesolite.master.allocator.demand import MAX_CUTS, DemandBook, whole_units
from mesolite.protocol import Demand
from mesolite.resources import Resources

AGENT = AgentId("a1")
OTHER = AgentId("a2")


def book(*demands: str, offered: dict[AgentId, str] | None = None, before: DemandBook | None = None) -> DemandBook:
    stated: list[Demand] = []
    for text in demands:
        count, shape = text.split("x ")
        stated.append(Demand(role="*", shape=Resources.parse(shape).to_wire(), count=int(count)))
    out = {agent_id: Resources.parse(amount) for agent_id, amount in (offered or {}).items()}
    made = DemandBook.stated(stated, out, before)
    made.check(out)
    return made


def needs(demand: DemandBook) -> list[int]:
    return [want.needed() for want in demand.wants]


def amounts(text: str) -> dict[str, int]:
    return Resources.parse(text).quantities().as_dict()


def test_units_are_whole_and_bounded_by_the_scarcest_name() -> None:
    assert whole_units(amounts("cpus:3;mem:64"), amounts("cpus:1;mem:20")) == 3
    assert whole_units(amounts("cpus:3;mem:39"), amounts("cpus:1;mem:20")) == 1
    assert whole_units(amounts("cpus:3"), amounts("cpus:1;mem:20")) == 0


def test_what_asks_for_nothing_is_left_out() -> None:
    assert book("0x cpus:1", "-1x cpus:1", "2x ").wants == []


def test_outstanding_offers_cover_shapes_in_their_order() -> None:
    demand = book("1x cpus:4", "9x cpus:1", offered={AGENT: "cpus:6", OTHER: "cpus:5"})
    assert needs(demand) == [0, 2]


def test_a_restated_shape_stays_the_same_object() -> None:
    first = book("2x cpus:1", "3x cpus:2")
    second = book("5x cpus:2", "1x cpus:1", before=first)
    assert {id(want) for want in second.wants} == {id(want) for want in first.wants}
    assert [want.count for want in second.wants] == [5, 1]


def test_equal_shapes_stay_apart() -> None:
    first = book("2x cpus:1", "3x cpus:1")
    second = book("4x cpus:1", "5x cpus:1", before=first)
    assert needs(second) == [4, 5]


def test_accepting_ends_the_need_and_returning_renews_it() -> None:
    demand = book("5x cpus:1")
    demand.granted(AGENT, demand.wants[0], 4)
    demand.accepted(AGENT, amounts("cpus:3"))
    assert (needs(demand), demand.wants[0].count) == ([1], 2)
    demand.returned(AGENT, amounts("cpus:1"))
    assert needs(demand) == [2]


def test_odd_sizes_leave_no_cover_behind() -> None:
    """Ten units were offered and used in pieces of 1.5: whatever is left uncounted is needed again."""
    demand = book("10x cpus:1")
    demand.granted(AGENT, demand.wants[0], 10)
    demand.accepted(AGENT, amounts("cpus:4.5"))
    demand.returned(AGENT, amounts("cpus:5.5"))
    demand.nothing_offered(AGENT)
    demand.check({})
    assert needs(demand) == [6]


def test_remembered_cuts_are_bounded() -> None:
    want = book("10x cpus:0.001").wants[0]
    pool = Resources.parse("cpus:100")
    for units in range(1, MAX_CUTS + 10):
        part = want.cut(pool, units, plain=True)
        assert part is not None
        assert part.scalar("cpus") == units


@pytest.mark.parametrize(
    ("pool", "shape", "units", "part"),
    [
        ("cpus:8;mem:100", "cpus:1;mem:10", 3, "cpus:3;mem:30"),
        ("cpus:8;cpus(eng):2", "cpus:1", 1, "cpus(eng):1"),
        ("cpus:8;cpus(eng):2", "cpus:1", 3, "cpus:1;cpus(eng):2"),
        ("gpus:4;cpus:1", "gpus:1", 2, "gpus:2"),
        ("ports:[5-7,10-20]", "ports:[1-2]", 2, "ports:[5-7,10-10]"),
        ("ports(eng):[5-5];ports:[10-20]", "ports:[1-2]", 1, "ports(eng):[5-5];ports:[10-10]"),
        ("disks:{b,a,c}", "disks:{x}", 2, "disks:{a,b}"),
    ],
)
def test_cutting(pool: str, shape: str, units: int, part: str) -> None:
    cut = carve(Resources.parse(pool), amounts(shape), units)
    assert cut == Resources.parse(part)
