"""`mesolite celery` in the cluster's Flower, whole: cluster, agents, warm workers, dispatcher and Flower, each a process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest
from celery import Celery

from mesolite.discovery import ClusterAddress
from mesolite.embedded_redis import EmbeddedRedis
from tests.celery_clients import close_client
from tests.contract.futures_pools import process_cluster
from tests.waiting import eventually

from .celery_flower_rig import Metrics
from .flower_rig import Flower

pytestmark = [pytest.mark.redis, pytest.mark.flower, pytest.mark.slow]

NODE: Final = "celery@shop"
AGENTS: Final = {"mesolite@agent-1", "mesolite@agent-2"}
#: A container, an import of Celery, a task; on a machine that does much else.
RUN_WITHIN_S: Final = 90.0
SHOWN_WITHIN_S: Final = 30.0

APPLICATION: Final = """
import time

from celery import Celery

app = Celery("shop", broker={url!r}, backend={url!r})
app.conf.mesolite = {{"cpus": 0.3, "mem": 96}}


@app.task(name="shop.add")
def add(a, b):
    print("adding", a, b)
    return a + b


@app.task(name="shop.fail")
def fail(message):
    raise ValueError(message)


@app.task(name="shop.alone", mesolite={{"isolation": "task"}})
def alone(number):
    return number


@app.task(name="shop.nap")
def nap(seconds):
    time.sleep(seconds)
"""


@pytest.fixture
def broker(tmp_path: Path) -> Generator[EmbeddedRedis]:
    """The application's own Redis."""
    with EmbeddedRedis(tmp_path / "broker") as running:
        yield running


@contextlib.contextmanager
def dispatcher(address: ClusterAddress, broker_url: str, folder: Path) -> Generator[Any]:
    """A dispatcher; gives the application's client."""
    folder.mkdir(mode=0o755)
    (folder / "flower_shop.py").write_text(APPLICATION.format(url=broker_url))
    environment = {
        **os.environ,
        "MESOLITE_MASTER_URL": address.master_url,
        "MESOLITE_REDIS_URL": address.redis_url,
        "MESOLITE_CLUSTER": address.cluster,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-m", "mesolite.cli", "celery", "-A", "flower_shop", "-n", NODE, "-l", "info"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    app: Any = Celery(broker=broker_url, backend=broker_url, set_as_current=False)
    try:
        yield app
    finally:
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
        close_client(app)


def test_tasks_of_a_dispatcher_are_shown_counted_and_ended(broker: EmbeddedRedis, tmp_path: Path) -> None:
    with (
        process_cluster() as address,
        Flower(address.redis_url, tmp_path / "flower.log") as flower,
        # Agents run workers as a user who may not enter the test's own folder.
        open_folder() as folder,
        dispatcher(address, broker.url, folder / "app") as app,
    ):
        good, bad, naps = (
            str(app.send_task(f"shop.{name}", args).id)
            for name, args in (("add", (1, 2)), ("fail", ("no",)), ("nap", (600,)))
        )
        expected = {good: "SUCCESS", bad: "FAILURE", naps: "STARTED"}

        def shown() -> dict[str, str]:
            states = flower.states()
            return {task_id: states.get(task_id, "") for task_id in expected}

        try:
            eventually(lambda: shown() == expected, within_s=RUN_WITHIN_S)
        except AssertionError:
            raise AssertionError(f"{shown()}\n{(folder / 'app' / 'log').read_text()[-4000:]}") from None
        task = flower.get(f"/api/task/info/{good}")
        assert (task["result"], task["resources"], task["isolation"]) == ("3", "cpus 0.3, mem 96 MiB", "worker")
        assert task["worker"] in AGENTS
        assert task["agent"].startswith(task["worker"].removeprefix("mesolite@"))
        assert float(task["peak_memory"].removesuffix(" MiB")) > 5
        assert "adding" in output_of(address, task["output"])
        assert flower.get(f"/api/task/info/{bad}")["exception"] == "ValueError('no')"

        eventually(lambda: NODE in flower.get("/api/workers?refresh=1"), within_s=SHOWN_WITHIN_S)
        pool = flower.get(f"/api/workers?refresh=1&workername={NODE}")[NODE]["stats"]["pool"]
        assert (pool["begun"], pool["workers"]) == (1, len(pool["executors"]))
        executing = "flower_worker_number_of_currently_executing_tasks"

        def counted() -> Metrics:
            return Metrics(flower.text("/metrics"))

        eventually(
            lambda: sum(counted().sum(executing, worker=agent) for agent in AGENTS) == 1, within_s=SHOWN_WITHIN_S
        )
        seen = counted()
        for kind, count in (("received", 3), ("started", 3), ("succeeded", 1), ("failed", 1)):
            assert sum(seen.events(kind, task=f"shop.{name}") for name in ("add", "fail", "nap")) == count, kind

        flower.post(f"/api/task/revoke/{naps}?terminate=true")
        eventually(lambda: flower.states().get(naps) == "REVOKED", within_s=SHOWN_WITHIN_S)


def test_a_task_in_a_container_of_its_own_is_shown_once_under_celerys_id(broker: EmbeddedRedis, tmp_path: Path) -> None:
    """Its agent has it as a task of the cluster, and would show it under the name of its run. Method: warm workers are shown."""
    with (
        process_cluster() as address,
        Flower(address.redis_url, tmp_path / "flower.log") as flower,
        open_folder() as folder,
        dispatcher(address, broker.url, folder / "app") as app,
    ):
        alone, warm = (str(app.send_task(f"shop.{name}", args).id) for name, args in (("alone", (7,)), ("add", (1, 2))))

        def names() -> dict[str, str]:
            with contextlib.suppress(OSError):
                return {key: each["name"] for key, each in flower.get("/api/tasks?limit=1000").items()}
            return {}

        def all_told() -> bool:
            shown = flower.states()
            told = shown.get(alone) == shown.get(warm) == "SUCCESS"
            return told and any(name.endswith("worker") for name in names().values())

        try:
            eventually(all_told, within_s=RUN_WITHIN_S)
        except AssertionError:
            raise AssertionError(f"{names()}\n{(folder / 'app' / 'log').read_text()[-4000:]}") from None
        task = flower.get(f"/api/task/info/{alone}")
        assert (task["result"], task["isolation"]) == ("7", "task")
        assert task["worker"] in AGENTS
        assert {key for key, name in names().items() if name.startswith("shop.")} == {alone, warm}

        def counts() -> dict[str, float]:
            seen = Metrics(flower.text("/metrics"))
            return {kind: seen.events(kind, task="shop.alone") for kind in ("received", "started", "succeeded")}

        eventually(lambda: any(counts().values()), within_s=SHOWN_WITHIN_S)
        assert counts() == {"received": 1, "started": 1, "succeeded": 1}


def output_of(address: ClusterAddress, command: str) -> str:
    """What the command that Flower shows prints."""
    program, *arguments = command.split()
    assert program == "mesolite"
    environment = {**os.environ, "MESOLITE_MASTER_URL": address.master_url}
    run = subprocess.run(
        [sys.executable, "-m", "mesolite.cli", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, json.dumps(run.stderr)
    return run.stdout


@contextlib.contextmanager
def open_folder() -> Generator[Path]:
    """A folder that anybody can enter."""
    with tempfile.TemporaryDirectory(prefix="mesolite-open-") as path:
        Path(path).chmod(0o755)
        yield Path(path)
