"""Every non-offer has a reason, in words."""

from mesolite.ids import AgentId, FrameworkId
from mesolite.master.allocator import NonOffer, Reason

from .cluster import Cluster


def told(cluster: Cluster, framework_id: str = "A") -> list[str]:
    return [f"{each.role} {each.agent_id} {each.reason.name}: {each.message}" for each in cluster.explain(framework_id)]


def test_a_framework_nobody_knows() -> None:
    assert told(Cluster()) == ["* None FRAMEWORK_INACTIVE: framework A is not subscribed"]


def test_reasons_that_lie_with_the_framework() -> None:
    cluster = Cluster()
    cluster.framework("A", "x", "y", "z", suppressed=("y",))
    cluster.demand("A", "1x cpus:1", role="x")
    assert cluster.reasons("A") == [Reason.NO_AGENTS, Reason.SUPPRESSED, Reason.NO_DEMAND]
    cluster.agent("a1", "cpus:2")
    cluster.allocate()
    assert cluster.reasons("A") == [Reason.NO_DEMAND, Reason.SUPPRESSED, Reason.NO_DEMAND]
    cluster.allocator.deactivate_framework(FrameworkId("A"))
    assert cluster.reasons("A") == [Reason.FRAMEWORK_INACTIVE] * 3


def test_reasons_that_lie_with_the_agents() -> None:
    cluster = Cluster()
    cluster.agent("a1", "cpus:2;mem:64")
    cluster.agent("a2", "cpus:2;mem:64")
    cluster.agent("a3", "cpus:0.005")
    cluster.framework("B")
    cluster.allocate()
    cluster.decline("B", "a2")
    cluster.allocator.deactivate_agent(AgentId("a2"))
    cluster.framework("A")
    assert told(cluster) == [
        "* a1 AGENT_FULL: all that this role could get is offered to or used by B",
        "* a2 AGENT_INACTIVE: the agent is silent, draining or behind with its commands",
        "* a3 TOO_SMALL: only cpus:0.005 is free; the smallest offer is cpus:0.01 or mem:32",
    ]


def test_a_filter_is_told_with_its_end() -> None:
    cluster = Cluster()
    cluster.agent("a1", "cpus:2;mem:64")
    cluster.framework("A")
    cluster.allocate()
    cluster.decline("A", refuse_ms=700)
    assert cluster.explain("A") == [
        NonOffer(
            role="*",
            agent_id=AgentId("a1"),
            reason=Reason.FILTERED,
            message="it declined this agent; cpus:2;mem:64 is free",
            until_ms=700,
        )
    ]


def test_a_demand_that_does_not_fit_now_or_never() -> None:
    cluster = Cluster()
    cluster.agent("a1", "cpus:2;mem:64")
    cluster.agent("a2", "cpus:8;mem:64")
    cluster.framework("B")
    cluster.allocate()
    cluster.accept("B", "a2", "cpus:7;mem:64", refuse_ms=None)
    cluster.decline("B", "a1")
    cluster.framework("A")
    cluster.demand("A", "2x cpus:4;mem:16")
    assert told(cluster) == [
        "* a1 NEVER_FITS: cpus:4;mem:16 is wanted; the whole agent has cpus:2;mem:64",
        "* a2 NO_FIT: cpus:4;mem:16 is wanted; cpus:1 is free",
    ]


def test_what_will_be_offered_next_is_waiting() -> None:
    cluster = Cluster()
    cluster.agent("a1", "cpus:2;mem:64")
    cluster.framework("A")
    assert told(cluster) == ["* a1 WAITING: cpus:2;mem:64 can be offered at the next allocation"]


def test_many_holders_are_not_all_listed() -> None:
    cluster = Cluster()
    for number in range(5):
        cluster.framework(f"F{number}")
        cluster.demand(f"F{number}", "1x cpus:1")
    cluster.agent("a1", "cpus:5")
    cluster.allocate()
    cluster.framework("A")
    assert told(cluster) == [
        "* a1 AGENT_FULL: all that this role could get is offered to or used by F0, F1, F2 and 2 more"
    ]


def test_an_agent_without_anything_for_the_role() -> None:
    cluster = Cluster()
    cluster.agent("a1", "cpus(ops):5")
    cluster.framework("A")
    assert told(cluster) == ["* a1 AGENT_FULL: the agent has nothing for this role"]
