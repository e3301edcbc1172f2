"""Flower shows the truth again after whatever made it miss something: its own restart, and failovers of Redis."""

import contextlib
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from mesolite.embedded_redis import EmbeddedRedis
from tests.waiting import eventually

from .flower_rig import Agent, Flower, shown
from .sentinel_rig import RigProcess, SentinelRig

pytestmark = [pytest.mark.redis, pytest.mark.flower, pytest.mark.slow]

#: From the moment something breaks until the page is right. A failover takes some 2 s, noticing a silent server 5 s more, a
#: repetition begins within 5 s; the rest is for busy machines.
HEALED_WITHIN_S = 40.0

ONLINE = {"mesolite@agent-1": True}


@pytest.fixture
def rig(tmp_path: Path) -> Generator[SentinelRig]:
    """A replicated Redis under Sentinels."""
    with SentinelRig(tmp_path / "rig") as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Generator[EmbeddedRedis]:
    """A Redis of the test's own."""
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


def eventually_shows(flower: Flower, **states: str) -> None:
    """Wait until the page lists these tasks and no others, and the agent as online."""
    expected = {shown(name): state for name, state in states.items()}

    try:
        eventually(lambda: flower.states() == expected, within_s=HEALED_WITHIN_S)
    except AssertionError:
        raise AssertionError(f"shown: {flower.states()}\nexpected: {expected}\n{flower.log()}") from None
    eventually(lambda: flower.get("/api/workers?status=1") == ONLINE, within_s=HEALED_WITHIN_S)


@pytest.mark.parametrize("plain", [False, True], ids=["ours", "as it comes from PyPI"])
def test_a_flower_that_was_killed_shows_all_that_happened_meanwhile(
    server: EmbeddedRedis, tmp_path: Path, plain: bool
) -> None:
    """Goal: what ran and runs is shown by a Flower that knew nothing. Method: SIGKILL; tasks end and start; a new one."""
    with (
        Flower(server.url, tmp_path / "flower.log", plain=plain) as flower,
        contextlib.closing(Agent(server.url)) as agent,
    ):
        agent.runs("good", "bad", "killed", "runs", "before")
        agent.ends("before", "succeeded", exit_code=0)
        eventually_shows(flower, good="STARTED", bad="STARTED", killed="STARTED", runs="STARTED", before="SUCCESS")
        begun = flower.get(f"/api/task/info/{shown('runs')}")
        flower.stop(signal.SIGKILL)
        agent.ends("good", "succeeded", exit_code=0)
        agent.ends("bad", "failed", exit_code=3)
        agent.ends("killed", "killed")
        agent.runs("new")
        flower.start()
        eventually_shows(
            flower, good="SUCCESS", bad="FAILURE", killed="REVOKED", runs="STARTED", before="SUCCESS", new="STARTED"
        )
        again = flower.get(f"/api/task/info/{shown('runs')}")
        for field in ("received", "started", "name", "args", "kwargs"):
            assert again[field] == begun[field], field


def test_flower_stops_when_told_to_though_redis_is_away(tmp_path: Path) -> None:
    """Goal: a rolling restart does not wait for a kill. kombu repeats for ever what Flower asks of a broker that is away."""
    with contextlib.ExitStack() as stack:
        with EmbeddedRedis(tmp_path / "redis") as server:
            flower = stack.enter_context(Flower(server.url, tmp_path / "flower.log"))
        # Whichever part of it notices first: the receiver, if it was about to wake the workers, repeats that without a word.
        eventually(lambda: "Connection refused" in flower.log(), within_s=HEALED_WITHIN_S)
        assert flower.page("/workers") == 200, "its pages answer all the same"
        assert flower.stop() == 0
        assert "flower.stopped" in flower.log()


def kill(rig: SentinelRig) -> RigProcess:
    """End the primary."""
    lost = rig.primary()
    lost.kill()
    return lost


def hang(rig: SentinelRig) -> RigProcess:
    """Stop the primary with its sockets open."""
    lost = rig.primary()
    lost.hang()
    return lost


def isolate(rig: SentinelRig) -> RigProcess:
    """Cut the primary off from all but its clients."""
    lost = rig.primary()
    lost.isolate()
    return lost


def demote(rig: SentinelRig) -> RigProcess:
    """Replace a primary that is well."""
    lost = rig.primary()
    rig.start_demotion()
    return lost


@pytest.mark.parametrize("breaking", [kill, hang, isolate, demote])
def test_a_failover_of_redis_leaves_no_lie_behind(
    rig: SentinelRig, tmp_path: Path, breaking: Callable[[SentinelRig], RigProcess]
) -> None:
    """Goal: both directions heal by themselves. Method: tasks change while the primary is lost; then one is terminated."""
    with Flower(rig.url, tmp_path / "flower.log") as flower, contextlib.closing(Agent(rig.url)) as agent:
        agent.runs("good", "bad", "runs")
        eventually_shows(flower, good="STARTED", bad="STARTED", runs="STARTED")
        lost = breaking(rig)
        try:
            agent.ends("good", "succeeded", exit_code=0)
            agent.runs("new")
            rig.wait_for_primary(other_than=lost)
            agent.ends("bad", "failed", exit_code=3)
            eventually_shows(flower, good="SUCCESS", bad="FAILURE", runs="STARTED", new="STARTED")

            def terminated() -> bool:
                # While Redis is away Flower says so (503); somebody would press the button again.
                flower.ask_to_terminate(shown("runs"))
                return ("fw-1", "runs") in agent.terminated

            eventually(terminated, within_s=HEALED_WITHIN_S)
        finally:
            lost.resume()


def test_the_page_of_queues_works_under_sentinels(rig: SentinelRig, tmp_path: Path) -> None:
    """Flower's own reader knows one Sentinel, and no password for it."""
    with Flower(rig.url, tmp_path / "flower.log") as flower, contextlib.closing(Agent(rig.url)):
        rig.primary().ask("LPUSH", "mesolite.agent.agent-1", "a", "b", "c")
        eventually(lambda: "mesolite@agent-1" in flower.get("/api/workers?refresh=1"), within_s=HEALED_WITHIN_S)
        lengths = flower.get("/api/queues/length")
        assert lengths == {"active_queues": [{"name": "mesolite.agent.agent-1", "messages": 3}]}
        page = flower.text("/broker")
        assert "mesolite.agent.agent-1" in page
        assert "secret" not in page
