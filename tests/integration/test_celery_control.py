"""`celery inspect` and `celery control`: the dispatcher answers at the application's broker as Celery's own worker does."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

from mesolite.embedded_redis import EmbeddedRedis
from mesolite.transport.celery_broker import broker_errors
from tests.celery_clients import close_client
from tests.waiting import eventually

from .celery_worker_program import make_app

pytestmark = [pytest.mark.redis, pytest.mark.slow]

PROGRAM: Final = "tests.integration.celery_control_program"
POOL: Final = "mesolite.frameworks.celery.pool:DispatchPool"
NODE: Final = "celery@shop"
START_S: Final = 40.0


class Worker:
    """A worker, and the application's end of its control."""

    def __init__(self, which: str, broker_url: str, log: Path, *options: str, node: str = NODE) -> None:
        self.app: Any = make_app(broker_url)
        self.is_ours: Final = which == "dispatcher"
        self.node: Final = node
        self._log: Final = log
        command = [sys.executable, "-m", PROGRAM, broker_url, which, "-n", node, "-l", "info", *options]
        with log.open("ab") as output:
            environment = {**os.environ, "CELERY_CUSTOM_WORKER_POOL": POOL}
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text()

    def await_ready(self) -> None:
        """Wait until it answers."""

        def answers() -> bool:
            with contextlib.suppress(*broker_errors()):
                return bool(self.app.control.ping(destination=[self.node], timeout=0.5))
            return False

        try:
            eventually(answers, within_s=START_S)
        except AssertionError:
            raise AssertionError(self.log()) from None

    def inspect(self, method: str, *arguments: object) -> Any:
        """Its answer."""
        answers = getattr(self.app.control.inspect([self.node], timeout=2), method)(*arguments)
        return (answers or {}).get(self.node)

    def control(self, method: str, *arguments: object, **options: Any) -> Any:
        """Its answer."""
        [answer] = getattr(self.app.control, method)(
            *arguments, destination=[self.node], reply=True, timeout=2, **options
        )
        return answer[self.node]

    def call(self, name: str, *args: object, **options: Any) -> str:
        """Send a task; return its id."""
        return str(self.app.send_task(f"shop.{name}", args, **options).id)

    def ids(self, method: str) -> set[str]:
        """Of the tasks that it lists."""
        listed = self.inspect(method)
        return {each.get("id") or each["request"]["id"] for each in listed}

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            # Twice: what naps is not waited for.
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)
        close_client(self.app)


@pytest.fixture
def server(tmp_path: Path) -> Generator[EmbeddedRedis]:
    """The application's broker."""
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


@pytest.fixture(params=["plain", "dispatcher"])
def worker(request: pytest.FixtureRequest, server: EmbeddedRedis, tmp_path: Path) -> Generator[Worker]:
    """Celery's own, and ours."""
    with contextlib.closing(Worker(request.param, server.url, tmp_path / "worker.log")) as made:
        made.await_ready()
        yield made


def test_every_question_is_answered(worker: Worker) -> None:
    naps = {worker.call("nap", 3) for _ in range(2)}
    later = worker.call("add", 1, 2, countdown=60)
    eventually(lambda: worker.ids("active") == naps)
    eventually(lambda: worker.ids("scheduled") == {later})
    assert worker.inspect("ping") == {"ok": "pong"}
    assert "shop.add" in worker.inspect("registered")
    assert [queue["name"] for queue in worker.inspect("active_queues")] == ["celery"]
    assert worker.inspect("conf")["result_backend"] == "cache+memory://"
    assert worker.inspect("revoked") == []
    [(where, about)] = worker.inspect("query_task", later).values()
    assert (where, about["name"]) == ("scheduled", "shop.add")
    assert "software" in worker.inspect("report")["ok"]
    assert worker.inspect("clock")["clock"] > 0
    stats = worker.inspect("stats")
    assert stats["total"] == {"shop.nap": 2}
    assert stats["pool"]["max-concurrency"] == (10 if worker.is_ours else 2)
    if worker.is_ours:
        assert (stats["pool"]["workers"], stats["pool"]["begun"], len(stats["pool"]["executors"])) == (2, 2, 2)


def test_what_is_revoked_before_its_turn_never_runs(worker: Worker) -> None:
    waits = worker.call("add", 1, 2, countdown=3)
    eventually(lambda: worker.ids("scheduled") == {waits})
    worker.control("revoke", waits)
    assert worker.inspect("revoked") == [waits]
    eventually(lambda: f"Discarding revoked task: shop.add[{waits}]" in worker.log())


def test_limits_are_set_and_shown(worker: Worker) -> None:
    assert "ok" in worker.control("rate_limit", "shop.add", "7/m")
    assert "shop.add [rate_limit=7/m]" in worker.inspect("registered", "rate_limit")
    assert "error" in worker.control("rate_limit", "shop.add", "seven")
    assert "error" in worker.control("rate_limit", "shop.unheard_of", "7/m")
    assert "ok" in worker.control("time_limit", "shop.add", hard=9, soft=8)


def test_queues_come_and_go(worker: Worker) -> None:
    assert "ok" in worker.control("add_consumer", "reports")
    eventually(lambda: {queue["name"] for queue in worker.inspect("active_queues")} == {"celery", "reports"})
    there = worker.call("add", 1, 2, queue="reports")
    eventually(lambda: there in worker.log())
    assert "ok" in worker.control("cancel_consumer", "reports")
    eventually(lambda: [queue["name"] for queue in worker.inspect("active_queues")] == ["celery"])


def test_a_worker_that_is_told_to_shut_down_does(worker: Worker) -> None:
    worker.app.control.shutdown(destination=[worker.node])
    eventually(lambda: worker.process.poll() is not None, within_s=START_S)
    assert worker.process.returncode == 0


def test_the_pool_grows_and_shrinks(server: EmbeddedRedis, tmp_path: Path) -> None:
    """Its size is the most tasks at once; Celery's threads know no other than they were started with."""
    with contextlib.closing(Worker("dispatcher", server.url, tmp_path / "worker.log")) as ours:
        ours.await_ready()
        assert "ok" in ours.control("pool_grow", 5)
        assert ours.inspect("stats")["pool"]["max-concurrency"] == 15
        assert "ok" in ours.control("pool_shrink", 7)
        assert ours.inspect("stats")["pool"]["max-concurrency"] == 8
        assert "error" in ours.control("autoscale", max=3, min=1)
        assert "error" in ours.control("pool_restart")


def test_what_waits_for_a_worker_and_is_revoked_or_too_late_never_runs(server: EmbeddedRedis, tmp_path: Path) -> None:
    """Two workers are busy: what comes after them is given to the cluster, and waits there."""
    with contextlib.closing(Worker("dispatcher", server.url, tmp_path / "worker.log")) as ours:
        ours.await_ready()
        naps = {ours.call("nap", 60) for _ in range(2)}
        eventually(lambda: ours.ids("active") == naps)
        revoked, late = ours.call("nap", 60), ours.call("nap", 60, expires=1)
        eventually(lambda: {revoked, late} <= ours.ids("reserved") or late in ours.log())
        ours.control("revoke", revoked)
        eventually(lambda: ours.ids("active") == naps and not ours.ids("reserved"))
        for task_id in (revoked, late):
            assert f"Discarding revoked task: shop.nap[{task_id}]" in ours.log()
        ours.control("terminate", sorted(naps)[0])
        eventually(lambda: ours.ids("active") == {sorted(naps)[1]})


def test_workers_of_both_sorts_know_each_other_and_what_was_revoked(server: EmbeddedRedis, tmp_path: Path) -> None:
    """Mingle and gossip: who comes later hears what was revoked, and both see the other come."""
    with contextlib.ExitStack() as stack:

        def start(which: str, node: str) -> Worker:
            made = stack.enter_context(
                contextlib.closing(Worker(which, server.url, tmp_path / f"{which}.log", node=node))
            )
            made.await_ready()
            return made

        plain = start("plain", "celery@plain")
        plain.control("revoke", "one-id")
        ours = start("dispatcher", "celery@ours")
        assert ours.inspect("revoked") == ["one-id"]
        assert "sync with 1 nodes" in ours.log()
        eventually(lambda: "celery@ours" in plain.log(), within_s=START_S)
