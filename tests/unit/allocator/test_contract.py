"""What every allocator must do, whatever its policy: run on all of them."""

from collections.abc import Callable

import pytest

from mesolite.ids import AgentId, FrameworkId
from mesolite.master.allocator import (
    DEFAULT_REFUSE_MS,
    MAX_REFUSE_MS,
    Allocator,
    HierarchicalDrfAllocator,
    OneEachAllocator,
    RandomSorter,
    Sorter,
    Totals,
)
from mesolite.protocol import Attribute, Demand
from mesolite.resources import Resources

from .cluster import Cluster


def _lottery(totals: Totals, name: str) -> Sorter:
    return RandomSorter(totals, name, seed=7)


def _random_allocator() -> Allocator:
    return HierarchicalDrfAllocator(role_sorter=_lottery, framework_sorter=_lottery)


@pytest.fixture(
    params=[HierarchicalDrfAllocator, _random_allocator, OneEachAllocator], ids=["drf", "random", "one_each"]
)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    make: Callable[[], Allocator] = request.param
    return Cluster(make())


def test_nothing_is_offered_where_there_is_nobody_or_nothing(cluster: Cluster) -> None:
    assert cluster.allocate() == []
    cluster.framework("A")
    assert cluster.allocate() == []
    cluster.agent("a1", "cpus:4;mem:1024")
    assert cluster.allocate() == ["A a1 cpus:4;mem:1024"]


def test_what_is_offered_is_not_offered_again(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.framework("B")
    cluster.agent("a1", "cpus:4;mem:1024")
    assert len(cluster.allocate()) == 1
    assert cluster.allocate() == []


def test_grants_are_stamped_with_their_role(cluster: Cluster) -> None:
    cluster.framework("A", "eng/web")
    cluster.agent("a1", "cpus:4;mem:1024;ports:[31000-31009]")
    cluster.allocate()
    assert cluster.offers[0].resources.allocation_roles() == {"eng/web"}


def test_freed_resources_are_offered_by_the_next_call(cluster: Cluster) -> None:
    """Mesos waits for its next interval (reference trap 2)."""
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.accept("A", "a1")
    assert cluster.allocate() == []
    cluster.finish("A", "a1", "cpus:1;mem:256")
    cluster.finish("A", "a1", "cpus:1;mem:256")
    assert cluster.allocate() == ["A a1 cpus:2;mem:512"]


def test_a_declined_offer_comes_back_when_its_filter_ends(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.decline("A", refuse_ms=2000)
    assert cluster.allocate() == []
    assert cluster.allocator.next_deadline_ms() == 2000
    cluster.now_ms = 1999
    assert cluster.allocate() == []
    cluster.now_ms = 2000
    assert cluster.allocate() == ["A a1 cpus:4;mem:1024"]


@pytest.mark.parametrize(("refuse_ms", "lives_ms"), [(-1, DEFAULT_REFUSE_MS), (10 * MAX_REFUSE_MS, MAX_REFUSE_MS)])
def test_odd_refusals_mean_the_default_or_the_maximum(cluster: Cluster, refuse_ms: int, lives_ms: int) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.decline("A", refuse_ms=refuse_ms)
    assert cluster.allocator.next_deadline_ms() == lives_ms


@pytest.mark.parametrize("refuse_ms", [0, None])
def test_no_filter_means_offered_again_at_once(cluster: Cluster, refuse_ms: int | None) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.decline("A", refuse_ms=refuse_ms)
    assert cluster.allocate() == ["A a1 cpus:4;mem:1024"]


def test_a_filter_blocks_only_what_it_contains(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.accept("A", "a1", "cpus:3;mem:1024", refuse_ms=60_000)
    assert cluster.allocate() == []
    cluster.finish("A", "a1", "cpus:1;mem:512")
    assert cluster.allocate() == ["A a1 cpus:2;mem:512"]


def test_a_filter_binds_only_who_set_it(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.decline("A")
    cluster.framework("B")
    assert cluster.allocate() == ["B a1 cpus:4;mem:1024"]


def test_reviving_drops_filters_and_ends_suppression(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.decline("A", refuse_ms=60_000)
    cluster.allocator.suppress(FrameworkId("A"), ("*",))
    cluster.now_ms = 60_000
    assert cluster.allocate() == []
    cluster.allocator.revive(FrameworkId("A"), ("*",))
    assert cluster.allocate() == ["A a1 cpus:4;mem:1024"]


def test_a_role_can_be_suppressed_from_the_start(cluster: Cluster) -> None:
    cluster.framework("A", "x", "y", suppressed=("x",))
    cluster.agent("a1", "cpus:4;mem:1024")
    assert cluster.allocate() == ["A a1 cpus:4;mem:1024 (y)"]


def test_roles_not_subscribed_to_are_ignored(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.allocator.suppress(FrameworkId("A"), ("no", "*"))
    cluster.allocator.revive(FrameworkId("A"), ("no", "*"))
    cluster.allocator.suppress(FrameworkId("nobody"), ("*",))
    cluster.agent("a1", "cpus:4;mem:1024")
    assert cluster.allocate() == ["A a1 cpus:4;mem:1024"]


def test_an_inactive_framework_gets_nothing_and_loses_its_filters(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.decline("A", refuse_ms=60_000)
    cluster.allocator.deactivate_framework(FrameworkId("A"))
    assert cluster.allocate() == []
    cluster.allocator.activate_framework(FrameworkId("A"))
    assert cluster.allocate() == ["A a1 cpus:4;mem:1024"]


def test_an_inactive_agent_is_not_offered(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocator.deactivate_agent(AgentId("a1"))
    assert cluster.allocate() == []
    cluster.allocator.activate_agent(AgentId("a1"))
    assert cluster.allocate() == ["A a1 cpus:4;mem:1024"]


def test_new_attributes_drop_filters_on_the_agent(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.decline("A", refuse_ms=60_000)
    cluster.change_agent("a1", "cpus:4;mem:1024")
    assert cluster.allocate() == []
    cluster.change_agent("a1", "cpus:4;mem:1024", Attribute("rack", "r2"))
    assert cluster.allocate() == ["A a1 cpus:4;mem:1024"]


def test_an_agent_that_shrank_gives_nothing_until_enough_came_back(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.accept("A", "a1")
    cluster.change_agent("a1", "cpus:2;mem:2048")
    assert cluster.allocate() == ["A a1 mem:1024"]
    cluster.accept("A", "a1")
    cluster.finish("A", "a1", "cpus:3;mem:64")
    assert cluster.allocate() == ["A a1 cpus:1;mem:64"]


def test_an_agent_that_grew_gives_more(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.change_agent("a1", "cpus:5;mem:2048")
    assert cluster.allocate() == ["A a1 cpus:1;mem:1024"]


def test_slivers_are_not_offered(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:0.009;mem:31;disk:1000")
    cluster.agent("a2", "cpus:0.01")
    cluster.agent("a3", "mem:32")
    assert cluster.allocate() == ["A a2 cpus:0.01", "A a3 mem:32"]


def test_a_framework_sets_its_own_smallest_offer(cluster: Cluster) -> None:
    cluster.framework("picky", smallest=("cpus:2;mem:512", "gpus:1"))
    cluster.agent("a1", "cpus:4;mem:256")
    cluster.agent("a2", "cpus:2;mem:512")
    cluster.agent("a3", "gpus:1")
    assert cluster.allocate() == ["picky a2 cpus:2;mem:512", "picky a3 gpus:1"]


def test_an_empty_list_of_smallest_offers_accepts_anything(cluster: Cluster) -> None:
    cluster.framework("A", smallest=())
    cluster.agent("a1", "cpus:0.001")
    assert cluster.allocate() == ["A a1 cpus:0.001"]


def test_reserved_resources_go_to_their_role_and_those_below(cluster: Cluster) -> None:
    cluster.framework("other", "ops", suppressed=("ops",))
    cluster.framework("A", "eng/web")
    cluster.agent("a1", "cpus:1;mem:64;cpus(eng):2;cpus(ops):4")
    assert cluster.allocate() == ["A a1 cpus:1;cpus(eng):2;mem:64 (eng/web)"]
    cluster.allocator.revive(FrameworkId("other"), ("ops",))
    assert cluster.allocate() == ["other a1 cpus(ops):4 (ops)"]


def test_a_demand_gets_whole_units_and_no_more(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.demand("A", "3x cpus:1;mem:100")
    cluster.agent("a1", "cpus:2.5;mem:1000")
    cluster.agent("a2", "cpus:8;mem:1000")
    assert cluster.allocate() == ["A a1 cpus:2;mem:200", "A a2 cpus:1;mem:100"]
    cluster.agent("a3", "cpus:8;mem:1000")
    assert cluster.allocate() == []


def test_no_demand_means_no_offers(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.demand("A")
    cluster.agent("a1", "cpus:2;mem:1000")
    assert cluster.allocate() == []
    cluster.allocator.set_demand(FrameworkId("A"), None)
    assert cluster.allocate() == ["A a1 cpus:2;mem:1000"]


def test_what_is_accepted_is_no_longer_wanted(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.demand("A", "2x cpus:1;mem:100")
    cluster.agent("a1", "cpus:8;mem:1000")
    assert cluster.allocate() == ["A a1 cpus:2;mem:200"]
    cluster.accept("A", "a1")
    assert cluster.allocate() == []
    cluster.finish("A", "a1", "cpus:2;mem:200")
    assert cluster.allocate() == []


def test_what_is_declined_is_still_wanted(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.demand("A", "2x cpus:1;mem:100")
    cluster.agent("a1", "cpus:8;mem:1000")
    cluster.agent("a2", "cpus:8;mem:1000")
    assert cluster.allocate() == ["A a1 cpus:2;mem:200"]
    cluster.decline("A")
    assert cluster.allocate() == ["A a2 cpus:2;mem:200"]


def test_outstanding_offers_count_towards_a_new_demand(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.demand("A", "2x cpus:1;mem:100")
    cluster.agent("a1", "cpus:8;mem:1000")
    cluster.allocate()
    cluster.demand("A", "5x cpus:1;mem:100")
    assert cluster.allocate() == ["A a1 cpus:3;mem:300"]


def test_a_lost_agent_takes_its_offers_along(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.demand("A", "2x cpus:1;mem:100")
    cluster.agent("a1", "cpus:8;mem:1000")
    cluster.allocate()
    cluster.lose_agent("a1")
    cluster.agent("a2", "cpus:8;mem:1000")
    assert cluster.allocate() == ["A a2 cpus:2;mem:200"]


def test_what_a_stranger_uses_is_not_offered(cluster: Cluster) -> None:
    """After a change of master agents come back before their frameworks."""
    used = Resources.parse("cpus:3;mem:512").allocated_to("eng")
    cluster.agent("a1", "cpus:4;mem:1024", used={"late": used})
    cluster.framework("A")
    assert cluster.allocate() == ["A a1 cpus:1;mem:512"]
    cluster.recover("late", "a1", used, offered=False, refuse_ms=None)
    assert cluster.allocate() == ["A a1 cpus:3;mem:512"]


def test_a_task_that_came_back_is_charged_though_nothing_is_left(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    task = Resources.parse("cpus:1;mem:64").allocated_to("*")
    cluster.allocator.allocated(FrameworkId("B"), AgentId("a1"), task)
    cluster.check()
    cluster.decline("A", refuse_ms=0)
    assert cluster.allocate() == ["A a1 cpus:3;mem:960"]


def test_a_role_that_is_left_gets_nothing_more_but_keeps_what_it_uses(cluster: Cluster) -> None:
    cluster.framework("A", "x")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.accept("A", "a1", "cpus:1;mem:24")
    cluster.framework("A", "y")
    assert cluster.allocate() == ["A a1 cpus:3;mem:1000 (y)"]
    cluster.finish("A", "a1", "cpus:1;mem:24", role="x")
    assert cluster.allocate() == ["A a1 cpus:1;mem:24 (y)"]


def test_a_removed_framework_is_gone(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.decline("A", refuse_ms=0)
    cluster.allocator.remove_framework(FrameworkId("A"))
    cluster.allocator.remove_framework(FrameworkId("A"))
    cluster.check()
    assert cluster.allocate() == []


def test_removing_a_framework_that_holds_something_is_a_bug_of_the_master(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    with pytest.raises(AssertionError, match="holds something on 1 agents"):
        cluster.allocator.remove_framework(FrameworkId("A"))


def test_giving_back_more_than_was_taken_is_a_bug_of_the_master(cluster: Cluster) -> None:
    cluster.framework("A")
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.allocate()
    cluster.accept("A", "a1", "cpus:1;mem:64")
    with pytest.raises(AssertionError, match="gives cpus:8 back"):
        cluster.finish("A", "a1", "cpus:8")


def test_recovery_from_what_is_gone_is_ignored(cluster: Cluster) -> None:
    cluster.framework("A")
    task = Resources.parse("cpus:1").allocated_to("*")
    cluster.recover("A", "gone", task, offered=False, refuse_ms=None)
    cluster.agent("a1", "cpus:4;mem:1024")
    cluster.recover("gone", "a1", task, offered=True, refuse_ms=5000)
    assert cluster.allocate() == ["A a1 cpus:4;mem:1024"]


def test_the_same_verbs_give_the_same_grants(cluster: Cluster) -> None:
    def story(on: Cluster) -> list[list[str]]:
        for name in ("C", "A", "B"):
            on.framework(name, f"role-{name}", "*")
        for number in range(6):
            on.agent(f"a{number}", f"cpus:{number + 1};mem:1024")
        runs = [on.allocate()]
        for name in ("A", "B", "C"):
            if any(offer.framework_id == name for offer in on.offers):
                on.decline(name, refuse_ms=1000)
        runs.append(on.allocate())
        on.now_ms += 1000
        return [*runs, on.allocate()]

    again = Cluster(_like(cluster.allocator))
    assert story(cluster) == story(again)


def _like(allocator: Allocator) -> Allocator:
    if isinstance(allocator, OneEachAllocator):
        return OneEachAllocator()
    assert isinstance(allocator, HierarchicalDrfAllocator)
    return _random_allocator() if isinstance(allocator.role_sorter, RandomSorter) else HierarchicalDrfAllocator()


def test_shapes_may_ask_for_ports_by_number(cluster: Cluster) -> None:
    cluster.framework("A")
    shape = Resources.parse("cpus:1;ports:[1-2]").to_wire()
    cluster.agent("a1", "cpus:4;mem:1024;ports:[31000-31000,31005-31009]")
    cluster.allocator.set_demand(FrameworkId("A"), (Demand(role="*", shape=shape, count=2),))
    assert cluster.allocate() == ["A a1 cpus:2;ports:[31000-31000,31005-31007]"]
