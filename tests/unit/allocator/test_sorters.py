"""Who is next: what both sorters promise, then what is peculiar to each."""

from collections import Counter
from fractions import Fraction

import pytest

from mesolite.master.allocator import DrfSorter, RandomSorter, Sorter, SorterFactory, Totals


@pytest.fixture
def totals() -> Totals:
    """A hundred CPUs and a thousand MiB."""
    amounts = Totals()
    amounts.add({"cpus": 100_000, "mem": 1_000_000})
    return amounts


@pytest.fixture(params=[DrfSorter, RandomSorter])
def sorter(request: pytest.FixtureRequest, totals: Totals) -> Sorter:
    make: SorterFactory = request.param
    return make(totals, "")


def add(sorter: Sorter, *clients: str) -> None:
    for client in clients:
        sorter.add(client)
        sorter.activate(client)
        sorter.check()


# -- both


def test_only_active_clients_are_in_the_order(sorter: Sorter) -> None:
    add(sorter, "a", "b")
    sorter.add("c")
    sorter.deactivate("a")
    sorter.begin_run()
    assert list(sorter.order()) == ["b"]
    sorter.check()


def test_ranks_compare_as_the_order_goes(sorter: Sorter) -> None:
    add(sorter, "a", "b", "eng", "eng/web", "eng/db/hot", "ops/night")
    sorter.allocated("eng/web", {"cpus": 5_000})
    sorter.begin_run()
    order = list(sorter.order())
    assert sorted(order, key=sorter.rank) == order
    assert sorted(order) == ["a", "b", "eng", "eng/db/hot", "eng/web", "ops/night"]


def test_a_client_can_get_sub_roles_and_lose_them(sorter: Sorter) -> None:
    add(sorter, "eng")
    sorter.allocated("eng", {"cpus": 1_000})
    add(sorter, "eng/web")
    assert sorted(sorter.order()) == ["eng", "eng/web"]
    sorter.recovered("eng", {"cpus": 1_000})
    sorter.deactivate("eng/web")
    sorter.remove("eng/web")
    sorter.check()
    assert list(sorter.order()) == ["eng"]
    sorter.deactivate("eng")
    sorter.remove("eng")
    sorter.check()
    assert list(sorter.order()) == []
    assert "eng" not in sorter


def test_a_sub_role_may_come_before_its_parent(sorter: Sorter) -> None:
    add(sorter, "eng/web", "eng")
    assert sorted(sorter.order()) == ["eng", "eng/web"]
    for client in ("eng/web", "eng"):
        sorter.deactivate(client)
        sorter.remove(client)
        sorter.check()
    assert list(sorter.order()) == []


def test_what_holds_something_cannot_be_removed(sorter: Sorter) -> None:
    sorter.add("a")
    sorter.allocated("a", {"cpus": 1})
    with pytest.raises(AssertionError, match="while it holds"):
        sorter.remove("a")


def test_more_cannot_be_taken_away_than_is_held(sorter: Sorter) -> None:
    sorter.add("a")
    sorter.allocated("a", {"cpus": 1})
    with pytest.raises(AssertionError, match="more are taken away"):
        sorter.recovered("a", {"cpus": 2})


# -- dominant-resource fairness


def test_the_smallest_dominant_share_is_next(totals: Totals) -> None:
    sorter = DrfSorter(totals)
    add(sorter, "a", "b", "c")
    sorter.allocated("a", {"cpus": 10_000, "mem": 50_000})
    sorter.allocated("b", {"cpus": 5_000, "mem": 90_000})
    sorter.allocated("c", {"cpus": 1_000, "mem": 110_000})
    assert list(sorter.order()) == ["b", "a", "c"]
    assert [sorter.share(client) for client in "abc"] == [Fraction(10, 100), Fraction(9, 100), Fraction(11, 100)]
    sorter.check()


def test_equal_shares_go_by_gifts_then_by_name(totals: Totals) -> None:
    sorter = DrfSorter(totals)
    add(sorter, "c", "b", "a")
    assert list(sorter.order()) == ["a", "b", "c"]
    sorter.allocated("a", {"cpus": 1_000})
    sorter.recovered("a", {"cpus": 1_000})
    assert list(sorter.order()) == ["b", "c", "a"]


def test_a_share_is_divided_by_its_weight_exactly(totals: Totals) -> None:
    """A third of thirty equals a tenth of nothing but ten: binary fractions would break the tie (reference trap 20)."""
    sorter = DrfSorter(totals)
    add(sorter, "a", "b")
    sorter.set_weight("a", 3_000)
    sorter.allocated("a", {"cpus": 30_000})
    sorter.allocated("b", {"cpus": 5_000})
    sorter.allocated("b", {"cpus": 5_000})
    assert list(sorter.order()) == ["a", "b"]
    sorter.allocated("b", {"mem": 100_001})
    sorter.recovered("a", {"cpus": 1})
    assert list(sorter.order()) == ["a", "b"]
    sorter.set_weight("a", 1_000)
    assert list(sorter.order()) == ["b", "a"]


def test_a_weight_may_be_set_before_its_path_is_known(totals: Totals) -> None:
    sorter = DrfSorter(totals)
    sorter.set_weight("b", 2_000)
    add(sorter, "a", "b")
    sorter.allocated("a", {"cpus": 10_000})
    sorter.allocated("b", {"cpus": 15_000})
    assert list(sorter.order()) == ["b", "a"]


def test_new_totals_change_what_is_dominant(totals: Totals) -> None:
    sorter = DrfSorter(totals)
    add(sorter, "a", "b")
    sorter.allocated("a", {"cpus": 20_000})
    sorter.allocated("b", {"mem": 150_000})
    assert list(sorter.order()) == ["b", "a"]
    totals.add({"cpus": 100_000})
    assert list(sorter.order()) == ["a", "b"]
    sorter.check()


def test_names_that_are_no_scalars_of_any_agent_do_not_count(totals: Totals) -> None:
    sorter = DrfSorter(totals)
    add(sorter, "a", "b")
    sorter.allocated("a", {"ports": 1_000_000})
    sorter.allocated("b", {"cpus": 1})
    assert list(sorter.order()) == ["a", "b"]


def test_siblings_are_compared_level_by_level(totals: Totals) -> None:
    """A busy sub-role counts against all of its branch, as does the parent's own use against its sub-roles."""
    sorter = DrfSorter(totals)
    add(sorter, "eng", "eng/web", "eng/db", "ops")
    sorter.allocated("eng/web", {"cpus": 10_000})
    sorter.allocated("ops", {"cpus": 9_000})
    assert list(sorter.order()) == ["ops", "eng", "eng/db", "eng/web"]
    sorter.allocated("eng", {"cpus": 5_000})
    assert list(sorter.order()) == ["ops", "eng/db", "eng", "eng/web"]


def test_a_weight_acts_among_siblings_only(totals: Totals) -> None:
    """The weight of `eng` favours the branch over `ops`, and does nothing between `eng` itself and its sub-role."""
    sorter = DrfSorter(totals)
    sorter.set_weight("eng", 10_000)
    add(sorter, "eng", "eng/web", "ops")
    sorter.allocated("eng", {"cpus": 20_000})
    sorter.allocated("eng/web", {"cpus": 10_000})
    sorter.allocated("ops", {"cpus": 9_000})
    assert list(sorter.order()) == ["eng/web", "eng", "ops"]


def test_an_inactive_branch_is_skipped_but_still_counts(totals: Totals) -> None:
    sorter = DrfSorter(totals)
    add(sorter, "eng/web", "eng/db", "ops")
    sorter.allocated("eng/web", {"cpus": 10_000})
    sorter.allocated("ops", {"cpus": 5_000})
    sorter.deactivate("eng/web")
    assert list(sorter.order()) == ["ops", "eng/db"]


# -- the lottery


def test_a_seed_and_a_name_fix_the_lots(totals: Totals) -> None:
    def orders(seed: int, name: str) -> list[list[str]]:
        sorter = RandomSorter(totals, name, seed=seed)
        add(sorter, *"abcdef")
        drawn: list[list[str]] = []
        for _ in range(5):
            sorter.begin_run()
            drawn.append(list(sorter.order()))
        return drawn

    assert orders(1, "x") == orders(1, "x")
    assert orders(1, "x") != orders(2, "x")
    assert orders(1, "x") != orders(1, "y")


def test_lots_are_drawn_once_per_run(totals: Totals) -> None:
    sorter = RandomSorter(totals)
    add(sorter, *"abcdef")
    sorter.begin_run()
    first = list(sorter.order())
    sorter.allocated(first[0], {"cpus": 50_000})
    assert list(sorter.order()) == first


def test_twice_the_weight_comes_first_twice_as_often(totals: Totals) -> None:
    """Goal: lots are weighted. Method: 3,000 draws of a fixed seed; within five standard deviations of two thirds."""
    sorter = RandomSorter(totals, seed=3)
    sorter.set_weight("b", 2_000)
    add(sorter, "a", "b")
    firsts: Counter[str] = Counter()
    for _ in range(3_000):
        sorter.begin_run()
        firsts[next(sorter.order())] += 1
    assert abs(firsts["b"] - 2_000) < 5 * (3_000 * 2 / 9) ** 0.5
