"""Large demands: an agent is kept for them, for a time and on few agents."""

import pytest

from mesolite.ids import AgentId, FrameworkId
from mesolite.master.allocator import HierarchicalDrfAllocator, HoldLimits, Reason

from .cluster import Cluster

AFTER_MS = 1_000
FOR_MS = 10_000


@pytest.fixture
def cluster() -> Cluster:
    """Two agents, each filled with four small tasks of S; L wants a whole agent."""
    cluster = Cluster(HierarchicalDrfAllocator(hold_limits=HoldLimits(after_ms=AFTER_MS, for_ms=FOR_MS)))
    cluster.framework("S")
    cluster.agent("a1", "cpus:4;mem:400")
    cluster.agent("a2", "cpus:4;mem:400")
    cluster.demand("S", "100x cpus:1;mem:100")
    cluster.allocate()
    cluster.accept("S", "a1")
    cluster.accept("S", "a2")
    cluster.framework("L")
    cluster.demand("L", "1x cpus:3;mem:300")
    assert cluster.allocate() == []
    return cluster


def churn(cluster: Cluster, agent_id: str) -> list[str]:
    """A small task ends; tell who gets its place."""
    cluster.finish("S", agent_id, "cpus:1;mem:100")
    return cluster.allocate()


def wait_for_hold(cluster: Cluster) -> None:
    assert cluster.allocator.next_deadline_ms() == cluster.now_ms + AFTER_MS
    cluster.now_ms += AFTER_MS
    assert cluster.allocate() == []


def test_without_a_hold_small_tasks_take_every_gap(cluster: Cluster) -> None:
    assert churn(cluster, "a1") == ["S a1 cpus:1;mem:100"]


def test_what_becomes_free_on_a_held_agent_is_saved_until_the_unit_fits(cluster: Cluster) -> None:
    wait_for_hold(cluster)
    assert churn(cluster, "a1") == []
    assert churn(cluster, "a2") == ["S a2 cpus:1;mem:100"]
    assert churn(cluster, "a1") == []
    assert churn(cluster, "a1") == ["L a1 cpus:3;mem:300"]


def test_after_the_unit_was_offered_the_rest_is_for_all(cluster: Cluster) -> None:
    wait_for_hold(cluster)
    cluster.finish("S", "a1", "cpus:1;mem:100")
    cluster.finish("S", "a1", "cpus:3;mem:300")
    assert cluster.allocate() == ["L a1 cpus:3;mem:300", "S a1 cpus:1;mem:100"]


def test_the_agent_that_lacks_least_is_chosen(cluster: Cluster) -> None:
    cluster.demand("S", "100x cpus:2;mem:100")
    assert churn(cluster, "a2") == []
    cluster.now_ms += AFTER_MS
    assert cluster.allocate() == []
    assert churn(cluster, "a2") == []
    assert [r.reason for r in cluster.explain("S")] == [Reason.AGENT_FULL, Reason.HELD]


def test_nothing_is_held_for_a_unit_that_could_use_every_gap_itself(cluster: Cluster) -> None:
    """A full cluster, not smaller units, is what keeps it waiting: its turn comes by fair shares."""
    cluster.demand("S", "100x cpus:4;mem:400")
    cluster.allocate()
    cluster.now_ms += AFTER_MS
    cluster.allocate()
    assert Reason.HELD not in cluster.reasons("S")


def test_a_hold_ends_when_its_time_is_up(cluster: Cluster) -> None:
    wait_for_hold(cluster)
    assert churn(cluster, "a1") == []
    cluster.now_ms += FOR_MS - 1
    assert cluster.allocate() == []
    cluster.now_ms += 1
    assert cluster.allocate() == ["S a1 cpus:1;mem:100"]


def test_a_hold_ends_when_the_unit_is_no_longer_wanted(cluster: Cluster) -> None:
    wait_for_hold(cluster)
    assert churn(cluster, "a1") == []
    cluster.demand("L")
    assert cluster.allocate() == ["S a1 cpus:1;mem:100"]


def test_a_hold_ends_when_the_unit_was_found_elsewhere(cluster: Cluster) -> None:
    wait_for_hold(cluster)
    assert churn(cluster, "a1") == []
    cluster.agent("a3", "cpus:3;mem:300")
    cluster.allocate()
    assert {offer.agent_id for offer in cluster.offers if offer.framework_id == "L"} == {"a3"}
    assert {offer.agent_id for offer in cluster.offers if offer.framework_id == "S"} == {"a1"}


def test_a_hold_ends_with_its_framework(cluster: Cluster) -> None:
    wait_for_hold(cluster)
    assert churn(cluster, "a1") == []
    cluster.allocator.deactivate_framework(FrameworkId("L"))
    assert cluster.allocate() == ["S a1 cpus:1;mem:100"]


@pytest.mark.parametrize("change", ["deactivate", "update", "remove"])
def test_a_hold_ends_with_its_agent(cluster: Cluster, change: str) -> None:
    wait_for_hold(cluster)
    match change:
        case "deactivate":
            cluster.allocator.deactivate_agent(AgentId("a1"))
        case "update":
            cluster.change_agent("a1", "cpus:4;mem:400")
        case _:
            cluster.lose_agent("a1")
    cluster.check()
    assert Reason.HELD not in cluster.reasons("S")


def test_at_most_one_agent_in_four_is_held(cluster: Cluster) -> None:
    cluster.framework("M")
    cluster.demand("M", "1x cpus:4;mem:400")
    cluster.allocate()
    cluster.now_ms += AFTER_MS
    cluster.allocate()
    cluster.demand("S", "100x cpus:0.1;mem:1")
    cluster.finish("S", "a1", "cpus:1;mem:100")
    cluster.finish("S", "a2", "cpus:1;mem:100")
    assert sum(reason is Reason.HELD for reason in cluster.reasons("S")) == 1


def test_nothing_is_held_for_a_unit_that_never_fits(cluster: Cluster) -> None:
    cluster.demand("L", "1x cpus:5;mem:300")
    cluster.allocate()
    cluster.now_ms += 5 * AFTER_MS
    assert cluster.allocate() == []
    assert churn(cluster, "a1") == ["S a1 cpus:1;mem:100"]


def test_nothing_is_held_where_its_client_declined(cluster: Cluster) -> None:
    """A framework that refuses an agent does not get it kept."""
    cluster.agent("a3", "cpus:3;mem:300")
    assert cluster.allocate() == ["L a3 cpus:3;mem:300"]
    cluster.decline("L", refuse_ms=60_000)
    cluster.now_ms += 1
    cluster.allocate()
    cluster.now_ms += AFTER_MS
    cluster.allocate()
    assert "a3" in {offer.agent_id for offer in cluster.offers if offer.framework_id == "S"}
    assert [r.agent_id for r in cluster.explain("S") if r.reason is Reason.HELD] != ["a3"]


def test_offers_of_units_restart_the_clock() -> None:
    cluster = Cluster(HierarchicalDrfAllocator(hold_limits=HoldLimits(after_ms=AFTER_MS, for_ms=FOR_MS)))
    cluster.framework("L")
    cluster.demand("L", "2x cpus:3;mem:300")
    cluster.agent("a1", "cpus:4;mem:400")
    cluster.now_ms = AFTER_MS - 1
    assert cluster.allocate() == ["L a1 cpus:3;mem:300"]
    assert cluster.allocator.next_deadline_ms() == cluster.now_ms + AFTER_MS


def test_waiting_keeps_one_reminder_however_often_it_is_served() -> None:
    """Goal: no queue grows with the number of offers. Method: many gifts within one waiting time, then count."""
    cluster = Cluster(HierarchicalDrfAllocator(hold_limits=HoldLimits(after_ms=AFTER_MS, for_ms=FOR_MS)))
    cluster.framework("L")
    cluster.demand("L", "1000x cpus:1")
    cluster.agent("a1", "cpus:1")
    for _ in range(50):
        cluster.now_ms += 1
        assert cluster.allocate() == ["L a1 cpus:1"]
        cluster.accept("L", "a1")
        cluster.finish("L", "a1", "cpus:1")
    assert cluster.allocator.next_deadline_ms() == cluster.now_ms + AFTER_MS
    holds = getattr(cluster.allocator, "_holds")  # noqa: B009 - not a verb of the contract
    assert holds.reminders() == 1
