"""What dies and comes back: Redis, the master, an agent, a framework's program; tasks run on, and every task has its word."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mesolite.cli.processes import is_alive
from mesolite.frameworks import batch

from .conftest import PROCESS_CONFIG, Cluster, eventually

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("breakage"), pytest.mark.timeout(180)]

#: Appends its name to a file once and goes on for a while: two lines mean two launches.
COUNTING = "echo started >> starts; sleep 8; cat starts"


def kill(cluster: Cluster, name: str) -> None:
    record = cluster.process(name)
    os.kill(record.pid, signal.SIGKILL)
    eventually(lambda: not is_alive(record), f"{name} is dead")


def starts(cluster: Cluster, result: batch.TaskResult) -> int:
    done = cluster.mesolite("logs", str(result.task_id), check=True)
    return done.stdout.count("started")


@pytest.mark.parametrize("victim", ["master", "agent-1", "redis"])
def test_running_tasks_survive_the_death_of(process_cluster: Cluster, victim: str) -> None:
    with batch.connect(process_cluster.address.redis_url, process_cluster.address.cluster) as cluster:
        job = cluster.submit(COUNTING, count=3, cpus=0.2, mem_mib=32)
        eventually(
            lambda: sum(row["state"] == "TASK_RUNNING" for row in process_cluster.rows("ps")) == 3, "all three run"
        )
        kill(process_cluster, victim)
        process_cluster.restart(PROCESS_CONFIG)
        results = list(job.results(timeout_s=60))
    assert [result.state for result in results] == [batch.TaskState.FINISHED] * 3
    assert [result.attempts for result in results] == [1, 1, 1]
    assert [starts(process_cluster, result) for result in results] == [1, 1, 1]


def test_work_submitted_while_the_agent_is_dead_runs_when_it_is_back(process_cluster: Cluster) -> None:
    with batch.connect(process_cluster.address.redis_url, process_cluster.address.cluster) as cluster:
        kill(process_cluster, "agent-1")
        job = cluster.submit("echo back", mem_mib=32)
        process_cluster.restart(PROCESS_CONFIG)
        assert next(job.results(timeout_s=60)).state is batch.TaskState.FINISHED


def test_a_program_that_is_interrupted_takes_its_tasks_along(process_cluster: Cluster, tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "mesolite.cli", "run", "--mem", "32", "--", "sleep 300"],
        env={**os.environ, "MESOLITE_HOME": str(process_cluster.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    eventually(lambda: any(row["state"] == "TASK_RUNNING" for row in process_cluster.rows("ps")), "the task runs")
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=30)
    assert program.returncode != 0
    eventually(lambda: process_cluster.rows("ps") == [], "nothing runs any more")


def test_a_master_waits_for_a_redis_that_is_down(tmp_path: Path) -> None:
    master = subprocess.Popen(
        [sys.executable, "-m", "mesolite.cli", "master", "--redis-url", "redis://127.0.0.1:1/0", "--http-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert master.stdout is not None
    lines: list[str] = []
    for line in master.stdout:
        lines.append(line)
        if "store_away" in line:
            break
    assert master.poll() is None, "".join(lines)
    master.terminate()
    rest = master.communicate(timeout=20)[0]
    assert master.returncode == 0, rest
