"""The whole system on real Redis, real Docker and real Flower, as its user meets it: through the command line."""

import json
import time
import urllib.request
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest
import redis

from mesolite.frameworks import batch
from mesolite.transport import open_store
from mesolite.transport.keys import calls_stream, key_prefix, reports_stream

from .conftest import Cluster, eventually

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.xdist_group("docker"), pytest.mark.timeout(180)]


def flower(cluster: Cluster, path: str, method: str = "GET") -> Any:
    request = urllib.request.Request(f"{cluster.address.flower_url}{path}", method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def test_run_streams_the_output_and_returns_the_exit_code(docker_cluster: Cluster) -> None:
    done = docker_cluster.mesolite("run", "--mem", "64", "--", "echo to-stdout; echo to-stderr >&2; exit 7")
    assert "to-stdout" in done.stdout
    assert "to-stderr" in done.stderr
    assert done.returncode == 7


def test_a_task_runs_limited_unprivileged_and_labelled(
    docker_cluster: Cluster, docker_engine: docker.DockerClient
) -> None:
    with batch.connect(docker_cluster.address.redis_url, docker_cluster.address.cluster) as cluster:
        job = cluster.submit("id -u; sleep 60", cpus=0.5, mem_mib=64, name="limited")
        found: list[Any] = []

        def runs() -> bool:
            found[:] = [
                c for c in docker_engine.containers.list() if c.labels.get("mesolite.task", "").startswith(job.job_id)
            ] or [
                c
                for c in docker_engine.containers.list(filters={"label": "mesolite.container"})
                if str(docker_cluster.home) in str(c.attrs["HostConfig"])
            ]
            return bool(found)

        eventually(runs, "the container runs")
        host = found[0].attrs["HostConfig"]
        job.kill()
        result = next(job.results(timeout_s=30))
    assert host["CpuQuota"] / host["CpuPeriod"] == pytest.approx(0.5)
    assert host["Memory"] == host["MemorySwap"] == 64 * 2**20
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["PidsLimit"] > 0
    assert found[0].attrs["Config"]["User"] == "65534:65534"
    assert result.state is batch.TaskState.KILLED


def test_a_greedy_task_dies_at_its_limit_and_its_neighbours_do_not(docker_cluster: Cluster) -> None:
    greedy = "held = []\nwhile True: held.append(bytearray(b'x') * 2**20)"
    with batch.connect(docker_cluster.address.redis_url, docker_cluster.address.cluster) as cluster:
        neighbours = cluster.submit("sleep 2; echo fine", count=4, cpus=0.2, mem_mib=32)
        eater = cluster.submit(["python3", "-c", greedy], cpus=0.5, mem_mib=64)
        died = next(eater.results(timeout_s=60))
        fine = list(neighbours.results(timeout_s=60))
    assert (died.state, died.reason) == (batch.TaskState.FAILED, batch.Reason.CONTAINER_LIMITATION_MEMORY)
    assert died.peak_mem_bytes is not None
    assert died.peak_mem_bytes >= 60 * 2**20
    assert "64 MiB" in died.message
    assert [result.state for result in fine] == [batch.TaskState.FINISHED] * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--image", "no-such-image-anywhere:1", "--", "true"], "no-such-image-anywhere"),
        (["run", "--mem", "9999", "--", "true"], "512"),
        (["run", "--cpus", "nan", "--", "true"], "cpus"),
        (["run", "--cpus", "-1", "--", "true"], "cpus"),
        (["run", "--uri", "file:///no/such/file", "--", "true"], "/no/such/file"),
    ],
)
def test_bad_input_is_explained_and_fails(docker_cluster: Cluster, arguments: list[str], words: str) -> None:
    done = docker_cluster.mesolite(*arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_executable_is_named(docker_cluster: Cluster) -> None:
    with batch.connect(docker_cluster.address.redis_url, docker_cluster.address.cluster) as cluster:
        result = next(cluster.submit(["no-such-program"], mem_mib=32).results(timeout_s=60))
    assert (result.state, result.reason) == (batch.TaskState.FAILED, batch.Reason.CONTAINER_LAUNCH_FAILED)
    assert "no-such-program" in result.message


def test_inputs_are_fetched_and_archives_unpacked(docker_cluster: Cluster, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "input.txt").write_text("forty-two\n")
    done = docker_cluster.mesolite("run", "--mem", "32", "--uri", f"file://{tmp_path}/input.txt", "--", "cat input.txt")
    assert done.stdout == "forty-two\n", done.stderr


def test_an_array_uses_every_agent(docker_cluster: Cluster) -> None:
    with batch.connect(docker_cluster.address.redis_url, docker_cluster.address.cluster) as cluster:
        job = cluster.submit("sleep 1", count=12, cpus=0.3, mem_mib=32)
        results = list(job.results(timeout_s=90))
    assert {result.index for result in results} == set(range(12))
    assert {result.agent_id for result in results} == {"agent-1", "agent-2"}


def test_listings_show_agents_tasks_and_logs(docker_cluster: Cluster) -> None:
    agents = docker_cluster.rows("agents")
    assert [agent["agent_id"] for agent in agents] == ["agent-1", "agent-2"]
    assert all(agent["status"] == "active" for agent in agents)
    docker_cluster.mesolite("run", "--name", "listed", "--mem", "32", "--", "echo seen", check=True)
    task = next(row for row in docker_cluster.rows("ps", "-a") if row["task_id"].startswith("listed"))
    assert task["state"] == "TASK_FINISHED"
    assert docker_cluster.mesolite("logs", task["task_id"]).stdout == "seen\n"


def test_flower_shows_agents_and_tasks_and_terminates_one(docker_cluster: Cluster) -> None:
    # Flower asks the workers and waits a second: on a busy machine one of them answers to the next question.
    eventually(lambda: len(flower(docker_cluster, "/api/workers?refresh=1")) == 2, "Flower lists both agents")
    with batch.connect(docker_cluster.address.redis_url, docker_cluster.address.cluster) as cluster:
        good = next(cluster.submit("sleep 0.2; exit 0", mem_mib=32, name="good").results(timeout_s=60))
        bad = next(cluster.submit("exit 3", mem_mib=32, name="bad").results(timeout_s=60))

        def shown(task_id: str | None, state: str) -> bool:
            task = flower(docker_cluster, "/api/tasks?limit=1000").get(f"{cluster.framework_id}/{task_id}")
            return task is not None and task["state"] == state

        eventually(lambda: shown(good.task_id, "SUCCESS"), "Flower shows the good task as SUCCESS")
        eventually(lambda: shown(bad.task_id, "FAILURE"), "Flower shows the bad task as FAILURE")
        tasks = flower(docker_cluster, "/api/tasks?limit=1000")
        assert "exit 0" in tasks[f"{cluster.framework_id}/{good.task_id}"]["args"]
        assert tasks[f"{cluster.framework_id}/{good.task_id}"]["runtime"] > 0

        job = cluster.submit("sleep 120", mem_mib=32, name="endless")
        task_id = f"{job.job_id}-0-1"
        eventually(lambda: shown(task_id, "STARTED"), "Flower shows the endless task as STARTED")
        flower(docker_cluster, f"/api/task/revoke/{cluster.framework_id}/{task_id}?terminate=true", "POST")
        ended = next(job.results(timeout_s=30))
    assert ended.state is batch.TaskState.KILLED
    eventually(lambda: shown(task_id, "REVOKED"), "Flower shows it as REVOKED")


def test_garbage_on_a_stream_is_set_aside_and_nothing_else_suffers(docker_cluster: Cluster) -> None:
    word = uuid4().hex
    store = open_store(docker_cluster.address.redis_url, docker_cluster.address.cluster)
    client = redis.Redis.from_url(docker_cluster.address.redis_url)
    for stream in (calls_stream(), reports_stream()):
        store.append(stream, f"garbage {word}".encode(), max_length=1000)
        client.xadd(f"{key_prefix(docker_cluster.address.cluster)}{stream}", {"neither": b"nor"})
    store.close()
    client.close()
    eventually(
        lambda: sum(word in json.dumps(row) for row in docker_cluster.rows("dead-letters")) == 2,
        "both letters are listed",
    )
    assert docker_cluster.mesolite("run", "--mem", "32", "--", "true").returncode == 0


def test_freed_resources_are_used_again_at_once(docker_cluster: Cluster) -> None:
    with batch.connect(docker_cluster.address.redis_url, docker_cluster.address.cluster) as cluster:
        first = cluster.submit("true", count=1, cpus=2, mem_mib=32)
        first.wait(60)
        began_s = time.monotonic()
        cluster.submit("true", count=1, cpus=2, mem_mib=32).wait(60)
    assert time.monotonic() - began_s < 5
