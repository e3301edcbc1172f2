"""Kinds of calls that share a cluster: none starves, each gets what is its, and workers do not come and go while nothing changes.

Liveness: whatever shapes and loads there are, if each shape fits an agent, each kind ends a call in any three minutes.
Rest: where all kinds have workers, none is ended.
Fairness: then nobody waits beside free room, or for a worker that another has who would be no worse off than he.
Pace: where shapes are alike, all hold alike after about as many plans as it takes to double from one to what is to move.
"""

from collections import Counter
from typing import Final

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from mesolite.frameworks.celery.warm_settings import WARM_SHARE
from mesolite.frameworks.futures.options import CallOptions, Kind
from mesolite.frameworks.futures.settings import MAX_WORKERS
from mesolite.frameworks.futures.shares import Shares

from .worker_cluster import STEP_MS, WINDOW_MS, Cluster, Flow, Layout, layouts


def _of(cpus: float, mem_mib: int, calls: int, call_ms: int = 250) -> Flow:
    return Flow(CallOptions(cpus=cpus, mem_mib=mem_mib).kind, calls, call_ms)


#: There was no end of plans in vain, every ten minutes: for the middle one, on an agent that has never had room for two of it.
IN_VAIN: Final = Layout({"agent-0": (6, 8192)}, (_of(0.5, 3000, 24), _of(4, 101, 1), _of(1, 502, 5)))
#: The same, on the agent where the large one might have been if it were not somewhat too small.
ELSEWHERE: Final = Layout(
    {"agent-0": (3, 8192), "agent-1": (7, 4096), "agent-2": (4, 8192)}, (_of(2, 3000, 23), _of(4, 901, 26, 1_000))
)
#: The large one fits one agent only, where there is least to take.
FOUND_LATE: Final = Layout(
    {"agent-0": (6, 4096), "agent-1": (5, 8192), "agent-2": (8, 1024)},
    (_of(0.5, 900, 7), _of(0.5, 501, 9, 5_000), _of(8, 102, 25)),
    8,
)
#: What the first would have needed for an executor was taken from what was offered for the second, which did not fit then.
FREE: Final = Layout(
    {"agent-0": (8, 1024), "agent-1": (6, 1024), "agent-2": (3, 4096)}, (_of(8, 100, 20), _of(1, 501, 3))
)


#: One of the two large ones ended for the other, and the small ones took the room: each had less than the other was to have.
TAKEN: Final = Layout(
    {"agent-0": (3, 1024), "agent-1": (4, 8192)}, (_of(0.5, 900, 14, 5_000), _of(4, 501, 1), _of(4, 502, 10, 5_000)), 5
)


@settings(max_examples=20)
@given(layouts())
@example(TAKEN)
@example(FOUND_LATE)
def test_no_kind_starves(layout: Layout) -> None:
    """Whatever the others do."""
    cluster = layout.cluster()
    for _ in range(4):
        ended = cluster.pass_time(WINDOW_MS)
        assert all(ended[flow.kind] for flow in cluster.flows), ended


@settings(max_examples=20)
@given(layouts())
@example(IN_VAIN)
@example(ELSEWHERE)
def test_workers_stay_while_nothing_changes(layout: Layout) -> None:
    """Where all have workers, there is peace; where they cannot, each turn lasts."""
    cluster = layout.cluster()
    cluster.pass_time(3 * WINDOW_MS)
    before = len(cluster.drains)
    cluster.pass_time(WINDOW_MS)
    if cluster.all_had_workers(WINDOW_MS):
        assert len(cluster.drains) == before
    event("all have workers" if cluster.all_had_workers(WINDOW_MS) else "they take turns")


@settings(max_examples=20)
@given(layouts())
@example(FREE)
def test_nobody_waits_for_what_another_has_too_much(layout: Layout) -> None:
    """Method: who knows what is free looks for a worker that might have come, on any agent."""
    cluster = layout.cluster()
    shares = Shares(cluster.max_workers or MAX_WORKERS, WARM_SHARE)
    while cluster.now_ms < 3 * WINDOW_MS:
        cluster.step()
        shares.note(worker.kind for worker in cluster.workers.values())
    if cluster.all_had_workers(WINDOW_MS) and cluster.held().total() < (cluster.max_workers or MAX_WORKERS):
        waiting = [flow.kind for flow in cluster.flows if flow.calls > cluster.held()[flow.kind]]
        assert [
            (kind, agent) for kind in waiting for agent in cluster.agents if _might_be(cluster, shares, kind, agent)
        ] == []


def _might_be(cluster: Cluster, shares: Shares, kind: Kind, agent: str) -> bool:
    """Whether an agent would have room for one more of a kind, when others had no less than it for that."""
    left, free = cluster.held(), cluster.free(agent)
    share = shares.of(kind, left[kind] + 1)
    here = Counter(each.kind for each in cluster.workers.values() if each.agent == agent and not each.drained)
    while not free >= shares.room(kind):
        losers = [
            each
            for each in here
            if each != kind and here[each] and left[each] > 1 and shares.of(each, left[each] - 1) >= share
        ]
        if not losers:
            return False
        loser = max(losers, key=lambda each: shares.of(each, left[each]))
        left[loser] -= 1
        here[loser] -= 1
        free.update(shares.room(loser))
    return True


@settings(max_examples=20)
@given(
    cpus=st.lists(st.integers(2, 24), min_size=1, max_size=3),
    kinds=st.integers(2, 3),
    call_ms=st.sampled_from([250, 1_000, 5_000]),
)
def test_alike_kinds_come_to_hold_alike_within_a_few_plans(cpus: list[int], kinds: int, call_ms: int) -> None:
    """Given one that has all there is; when others come, one after the other; then it takes a number of plans that grows like a
    logarithm, and meanwhile nobody who had a worker is without.
    """
    agents: dict[str, tuple[float, int]] = {f"agent-{number}": (each, 65_536) for number, each in enumerate(cpus)}
    flows = [_of(1, 100 + number, 100 if not number else 0, call_ms) for number in range(min(kinds, sum(cpus)))]
    cluster = Layout(agents, tuple(flows)).cluster()
    cluster.pass_time(10_000)
    assert cluster.held().total() == sum(cpus)
    for number, flow in enumerate(flows[1:], 2):
        before = len(cluster.drains)
        cluster.change(flow.kind, 100)
        # One more for each of those it is taken from, whose calls do not end together.
        most_plans = (sum(cpus) // number).bit_length() + number
        # Patience, what is left of a call, until it is heard of, the end, the start: for each plan.
        until_ms = cluster.now_ms + most_plans * (2_000 + call_ms + 1_000 + 500 + 1_000 + 2 * STEP_MS)
        while cluster.now_ms < until_ms:
            cluster.step()
            assert all(cluster.held()[each.kind] for each in flows[: number - 1])
        held = [cluster.held()[each.kind] for each in flows[:number]]
        # What is a hair larger may stop one earlier.
        assert max(held) - min(held) <= 2, held
        assert len(set(cluster.drains[before:])) <= most_plans
    event(f"{sum(cpus) // 16 * 16} workers or more")
