"""Celery's tasks in the cluster's Flower: shown where they run, counted to the task, and governed from there.

A worker of Celery's own stands in for the dispatcher, whose pool is all that differs (tests/e2e has the whole).
"""

import contextlib
import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mesolite.embedded_redis import EmbeddedRedis
from mesolite.transport.celery_broker import open_broker
from mesolite.transport.redis_client import connect
from tests.waiting import eventually

from .celery_flower_rig import WORKER, Metrics, Worker, worker
from .flower_rig import Flower
from .sentinel_rig import SentinelRig

pytestmark = [pytest.mark.redis, pytest.mark.flower, pytest.mark.slow]

#: From an event to the page; the rest is for busy machines.
SHOWN_WITHIN_S = 30.0
#: As in test_flower_truth.py.
HEALED_WITHIN_S = 40.0
AGENTS = ("mesolite@agent-1", "mesolite@agent-2")


@pytest.fixture
def cluster(tmp_path: Path) -> Generator[EmbeddedRedis]:
    """The cluster's Redis."""
    with EmbeddedRedis(tmp_path / "cluster") as running:
        yield running


@pytest.fixture
def broker(tmp_path: Path) -> Generator[EmbeddedRedis]:
    """The application's own."""
    with EmbeddedRedis(tmp_path / "broker") as running:
        yield running


def eventually_shows(flower: Flower, expected: dict[str, str], within_s: float = SHOWN_WITHIN_S) -> None:
    """Wait until these tasks are in these states, and there are no others."""
    try:
        eventually(lambda: flower.states() == expected, within_s=within_s)
    except AssertionError:
        raise AssertionError(f"shown: {flower.states()}\nexpected: {expected}\n{flower.log()}") from None


def metrics(flower: Flower) -> Metrics:
    """What Prometheus would read now."""
    return Metrics(flower.text("/metrics"))


def test_tasks_are_shown_at_the_agents_that_they_ran_on_with_what_they_were_given(
    cluster: EmbeddedRedis, broker: EmbeddedRedis, tmp_path: Path
) -> None:
    with (
        Flower(cluster.url, tmp_path / "flower.log") as flower,
        worker(broker.url, cluster.url, tmp_path / "worker.log") as shop,
    ):
        good, bad, again = shop.call("add", 1, 2), shop.call("fail", "no"), shop.call("again")
        runs = shop.call("nap", 60)
        eventually_shows(flower, {good: "SUCCESS", bad: "FAILURE", again: "SUCCESS", runs: "STARTED"})
        task = flower.get(f"/api/task/info/{good}")
        assert (task["name"], task["args"], task["result"]) == ("shop.add", "(1, 2)", "3")
        assert task["worker"] in AGENTS
        assert (task["resources"], task["peak_memory"], task["image"]) == ("cpus 0.5, mem 256 MiB", "20.0 MiB", "app:1")
        assert (task["agent"], task["routing_key"]) == (
            f"{task['worker'].removeprefix('mesolite@')} (host-a)",
            "celery",
        )
        assert task["output"] == f"mesolite logs celery-shop/celery-1/{good}.0"
        page = flower.text(f"/task/{good}")
        for detail in ("mesolite logs", "20.0 MiB", "cpus 0.5", "app:1", "agent-"):
            assert detail in page, detail
        failed = flower.get(f"/api/task/info/{bad}")
        assert failed["exception"] == "ValueError('no')"
        assert "raise ValueError(message)" in failed["traceback"]
        assert flower.get(f"/api/task/info/{again}")["retries"] == 1
        assert set(flower.get("/api/workers?status=1")) == {WORKER, *AGENTS}


def test_metrics_are_right_to_the_task_though_most_are_left_out(
    cluster: EmbeddedRedis, broker: EmbeddedRedis, tmp_path: Path
) -> None:
    """Goal: 2,000 tasks are counted where 20 a second are shown. Method: what Prometheus would read; the result of each."""
    count, failing = 2_000, 50
    with (
        Flower(cluster.url, tmp_path / "flower.log") as flower,
        worker(broker.url, cluster.url, tmp_path / "worker.log", shown_per_s=20.0) as shop,
    ):
        for number in range(count):
            shop.call("add", number, 1)
        for _ in range(failing):
            shop.call("fail", "no")

        def ended() -> bool:
            now = metrics(flower)
            return now.events("succeeded") + now.events("failed") == count + failing

        eventually(ended, within_s=60)
        seen = metrics(flower)
        for kind, task, expected in (
            ("received", "shop.add", count),
            ("started", "shop.add", count),
            ("succeeded", "shop.add", count),
            ("received", "shop.fail", failing),
            ("failed", "shop.fail", failing),
            ("failed", "shop.add", 0),
        ):
            assert seen.events(kind, task=task) == expected, (kind, task)
            assert sum(seen.events(kind, task=task, worker=agent) for agent in AGENTS) == expected, (kind, task)
        assert seen.sum("flower_task_runtime_seconds_count", task="shop.add") == count
        assert seen.sum("flower_task_runtime_seconds_bucket", task="shop.add", le="+Inf") == count
        assert 0 < seen.sum("flower_task_runtime_seconds_sum", task="shop.add") < count
        eventually(lambda: metrics(flower).sum("flower_worker_prefetched_tasks") == 0)
        assert metrics(flower).sum("flower_task_prefetch_time_seconds") == 0
        assert len(flower.states()) < count / 2, "most were left out"
        shown = flower.get("/api/tasks?limit=100000&taskname=shop.fail")
        assert shown, "failures are shown after all"
        processed = {
            name: int(each.get("task-received", 0)) for name, each in workers_of(flower).items() if name in AGENTS
        }
        assert sum(processed.values()) == count + failing


def test_flower_keeps_so_many_tasks_and_counts_all(
    cluster: EmbeddedRedis, broker: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: its memory has a bound, though nothing is left out. Method: 500 tasks where 100 are kept."""
    monkeypatch.setenv("FLOWER_MAX_TASKS", "100")
    with (
        Flower(cluster.url, tmp_path / "flower.log") as flower,
        worker(broker.url, cluster.url, tmp_path / "worker.log") as shop,
    ):
        for number in range(500):
            shop.call("add", number, 1)
        eventually(lambda: metrics(flower).events("succeeded") == 500, within_s=60)
        eventually(lambda: len(flower.states()) == 100)
        assert metrics(flower).events("received") == 500


def workers_of(flower: Flower) -> dict[str, dict[str, Any]]:
    """The rows of Flower's page of workers."""
    rows: list[dict[str, Any]] = flower.get("/workers?json=1")["data"]
    return {row["hostname"]: row for row in rows}


def test_what_waits_and_what_runs_is_counted_while_it_does(
    cluster: EmbeddedRedis, broker: EmbeddedRedis, tmp_path: Path
) -> None:
    with (
        Flower(cluster.url, tmp_path / "flower.log") as flower,
        worker(broker.url, cluster.url, tmp_path / "worker.log") as shop,
    ):
        ids = [shop.call("nap", 4) for _ in range(6)]
        eventually(lambda: metrics(flower).sum("flower_worker_prefetched_tasks", worker=WORKER, task="shop.nap") == 2)
        executing = "flower_worker_number_of_currently_executing_tasks"
        eventually(lambda: metrics(flower).sum(executing, worker=WORKER) in (4, 2), within_s=SHOWN_WITHIN_S)
        eventually_shows(flower, dict.fromkeys(ids, "SUCCESS"))
        assert metrics(flower).sum("flower_worker_prefetched_tasks") == 0
        eventually(lambda: metrics(flower).sum(executing, worker=WORKER) == 0, within_s=SHOWN_WITHIN_S)


def test_the_clusters_flower_governs_the_tasks(cluster: EmbeddedRedis, broker: EmbeddedRedis, tmp_path: Path) -> None:
    """Goal: revoke, terminate, limits and inspection reach the worker, though its broker is another Redis."""
    with (
        Flower(cluster.url, tmp_path / "flower.log") as flower,
        worker(broker.url, cluster.url, tmp_path / "worker.log") as shop,
    ):
        runs = [shop.call("nap", 5) for _ in range(4)]
        waits = shop.call("add", 1, 1, countdown=5)
        eventually_shows(flower, {**dict.fromkeys(runs, "STARTED"), waits: "RECEIVED"})
        flower.post(f"/api/task/revoke/{waits}")
        flower.post(f"/api/task/revoke/{runs[0]}?terminate=true")
        eventually(lambda: "told to end with 15" in shop.log())
        eventually(lambda: WORKER in flower.get("/api/workers?refresh=1"), within_s=SHOWN_WITHIN_S)
        known = flower.get(f"/api/workers?refresh=1&workername={WORKER}")[WORKER]
        assert "shop.add" in known["registered"]
        assert [queue["name"] for queue in known["active_queues"]] == ["celery"]
        assert known["stats"]["pool"]["max-concurrency"] == 4
        flower.post(f"/api/task/rate-limit/shop.add?workername={WORKER}&ratelimit=7/m")
        limited = ["shop.add [rate_limit=7/m]"]
        eventually(
            lambda: limited == [each for each in inspected(shop, "registered", "rate_limit")[WORKER] if "7/m" in each]
        )
        flower.post(f"/api/task/timeout/shop.add?workername={WORKER}&hard=9&soft=8")
        eventually_shows(flower, {**dict.fromkeys(runs, "SUCCESS"), waits: "REVOKED"})
        flower.post(f"/api/worker/shutdown/{WORKER}")
        eventually(lambda: not shop.runs())
        eventually(lambda: flower.get("/api/workers?status=1").get(WORKER) is False, within_s=SHOWN_WITHIN_S)


def inspected(shop: Worker, method: str, *arguments: str) -> Any:
    """What the worker says at its own broker."""
    return getattr(shop.app.control.inspect(timeout=1), method)(*arguments)


def test_where_the_broker_is_the_clusters_redis_each_task_is_shown_once(cluster: EmbeddedRedis, tmp_path: Path) -> None:
    """Goal: no second word under Celery's own name. Method: a worker that sends events (-E), and what was published."""
    with (
        Flower(cluster.url, tmp_path / "flower.log") as flower,
        worker(cluster.url, cluster.url, tmp_path / "worker.log", "-E") as shop,
    ):
        ids = [shop.call("add", number, 1) for number in range(5)]
        eventually_shows(flower, dict.fromkeys(ids, "SUCCESS"))
        assert {flower.get(f"/api/task/info/{each}")["worker"] for each in ids} <= set(AGENTS)
        eventually(lambda: metrics(flower).events("succeeded") == 5)
        assert metrics(flower).events("succeeded", worker=WORKER) == 0
        eventually(lambda: WORKER in flower.get("/api/workers?refresh=1"), within_s=SHOWN_WITHIN_S)
        pings: list[Any] = shop.app.control.ping(timeout=1)
        assert [list(each) for each in pings] == [[WORKER]], "it answers once"


def test_where_the_broker_is_another_celerys_own_events_go_there_untouched(
    cluster: EmbeddedRedis, broker: EmbeddedRedis, tmp_path: Path
) -> None:
    """Goal: the application's own Flower works as with any worker. Method: that Flower, as it comes from PyPI."""
    with (
        Flower(broker.url, tmp_path / "flower.log", plain=True) as flower,
        worker(broker.url, cluster.url, tmp_path / "worker.log", "-E") as shop,
    ):
        eventually(lambda: flower.get("/api/workers?status=1") == {WORKER: True}, within_s=SHOWN_WITHIN_S)
        ids = [shop.call("add", number, 1) for number in range(5)]
        eventually_shows(flower, dict.fromkeys(ids, "SUCCESS"))
        assert {flower.get(f"/api/task/info/{each}")["worker"] for each in ids} == {WORKER}
        assert metrics(flower).events("succeeded", worker=WORKER) == 5


@pytest.mark.parametrize("plain", [False, True], ids=["ours", "as it comes from PyPI"])
def test_a_flower_that_was_killed_shows_what_happened_meanwhile(
    cluster: EmbeddedRedis, broker: EmbeddedRedis, tmp_path: Path, plain: bool
) -> None:
    with (
        Flower(cluster.url, tmp_path / "flower.log", plain=plain) as flower,
        worker(broker.url, cluster.url, tmp_path / "worker.log") as shop,
    ):
        before, runs = shop.call("add", 1, 1), shop.call("nap", 8)
        eventually_shows(flower, {before: "SUCCESS", runs: "STARTED"})
        flower.stop(signal.SIGKILL)
        bad, again = shop.call("fail", "no"), shop.call("again")
        eventually(lambda: shop.log().count("raised unexpected") == 1)
        flower.start()
        expected = {before: "SUCCESS", runs: "SUCCESS", bad: "FAILURE", again: "SUCCESS"}
        eventually_shows(flower, expected, HEALED_WITHIN_S)
        if not plain:
            eventually(lambda: metrics(flower).events("succeeded") == 3)
            assert metrics(flower).events("retried") == 1
            assert metrics(flower).events("started") == 5, "also what happened before it began"


def test_a_failover_of_the_clusters_redis_leaves_no_lie_behind(broker: EmbeddedRedis, tmp_path: Path) -> None:
    """Goal: tasks go on, are shown when it is over, and are counted once. Method: the primary is killed while tasks run."""
    with (
        SentinelRig(tmp_path / "rig") as rig,
        Flower(rig.url, tmp_path / "flower.log") as flower,
        worker(broker.url, rig.url, tmp_path / "worker.log") as shop,
    ):
        before, runs = shop.call("add", 1, 1), shop.call("nap", 3)
        eventually_shows(flower, {before: "SUCCESS", runs: "STARTED"})
        lost = rig.primary()
        lost.kill()
        during = [shop.call("add", number, 1) for number in range(20)]
        rig.wait_for_primary(other_than=lost)
        after = shop.call("fail", "no")
        expected = {before: "SUCCESS", runs: "SUCCESS", **dict.fromkeys(during, "SUCCESS"), after: "FAILURE"}
        eventually_shows(flower, expected, HEALED_WITHIN_S)
        eventually(lambda: metrics(flower).events("succeeded") == 22)
        assert metrics(flower).events("failed") == 1

        def reached() -> bool:
            flower.ask_to_terminate("none-of-yours")
            return WORKER in flower.get("/api/workers?refresh=1")

        eventually(reached, within_s=HEALED_WITHIN_S)


def test_a_worker_that_was_killed_leaves_nothing_that_waits(
    cluster: EmbeddedRedis, broker: EmbeddedRedis, tmp_path: Path
) -> None:
    """Goal: gauges are right again with its next life, which counts on. Method: SIGKILL while tasks wait."""
    with (
        Flower(cluster.url, tmp_path / "flower.log") as flower,
        worker(broker.url, cluster.url, tmp_path / "worker.log") as shop,
    ):
        done = shop.call("add", 1, 1)
        eventually_shows(flower, {done: "SUCCESS"})
        for _ in range(6):
            shop.call("nap", 60)
        eventually(lambda: metrics(flower).sum("flower_worker_prefetched_tasks") == 2)
        shop.kill()
        with contextlib.closing(connect(broker.url)) as client:
            client.flushall()
        shop.start()
        after = shop.call("add", 1, 1)
        eventually(lambda: flower.states().get(after) == "SUCCESS")
        eventually(lambda: metrics(flower).sum("flower_worker_prefetched_tasks") == 0)
        assert metrics(flower).events("succeeded") == 2


def test_events_of_many_tasks_are_few_messages(cluster: EmbeddedRedis, broker: EmbeddedRedis, tmp_path: Path) -> None:
    """Goal: what Flower costs is bounded. Method: Redis counts what was published, and its bytes, for 2,000 tasks."""
    with worker(broker.url, cluster.url, tmp_path / "worker.log", shown_per_s=10.0) as shop, open_broker(cluster.url):
        began_s, before = time.monotonic(), published(cluster)
        for number in range(2_000):
            shop.call("add", number, 1)
        results = "celery"
        with contextlib.closing(connect(broker.url)) as client:
            eventually(lambda: client.llen(results) == 0, within_s=60)
        seconds = time.monotonic() - began_s
        assert published(cluster) - before < 20 * seconds + 20


def published(server: EmbeddedRedis) -> int:
    """How often PUBLISH was called."""
    with contextlib.closing(connect(server.url)) as client:
        statistics: Any = client.info("commandstats")
        return int(statistics.get("cmdstat_publish", {"calls": 0})["calls"])
