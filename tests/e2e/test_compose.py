"""The cluster of compose/compose.yaml: what the Engine makes of the file, and how a person uses what comes up."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from typing import Any

import pytest
from docker.models.containers import Container

from mesolite.discovery import find_cluster
from mesolite.frameworks import batch
from tests.waiting import eventually

from .compose_rig import MASTERS, REDIS, SENTINELS, ComposeRig, prepared_cluster

pytestmark = [
    pytest.mark.docker,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.xdist_group("docker"),
    # The images are made inside the first test's time.
    pytest.mark.timeout(900),
]

#: What people use; everything else stays inside.
PUBLISHED = {"master-1": "5050/tcp", "master-2": "5050/tcp", "flower": "5555/tcp"}
EVERYTHING = {*REDIS, *SENTINELS, *MASTERS, "agent", "flower"}


@pytest.fixture(scope="module")
def created() -> Generator[ComposeRig]:
    """Containers that were made and not started."""
    with prepared_cluster() as rig:
        rig.create()
        yield rig


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest) -> Generator[ComposeRig]:
    """A running cluster that these tests share; each leaves it whole."""
    failed_before = request.session.testsfailed
    with prepared_cluster() as running:
        # Tasks of a Celery application reach its Redis, which is the cluster's; others do not mind.
        running.environment["MESOLITE_TASK_NETWORK"] = f"{running.project}_cluster"
        running.up()
        running.wait_until_ready()
        yield running
        if request.session.testsfailed > failed_before:
            sys.stdout.write(running.logs())


def service_of(container: Container) -> str:
    return str(container.labels["com.docker.compose.service"])


def settings_of(rig: ComposeRig) -> dict[str, dict[str, Any]]:
    """What the Engine holds of each service's container."""
    return {service_of(container): container.attrs for container in rig.containers()}


# -- what is in the file ---------------------------------------------------------------------------------------------------


def test_compose_takes_the_file_and_finds_every_service_in_it(created: ComposeRig) -> None:
    assert created.compose("config", "--quiet").returncode == 0
    assert set(settings_of(created)) == EVERYTHING
    assert len(created.containers()) == len(EVERYTHING) + 1, "two agents"


def test_every_container_is_limited_checked_and_started_again(created: ComposeRig) -> None:
    for service, settings in settings_of(created).items():
        host = settings["HostConfig"]
        assert host["Memory"] >= 64 * 2**20, service
        assert host["NanoCpus"] > 0, service
        assert host["PidsLimit"] > 0, service
        assert host["RestartPolicy"]["Name"] == "unless-stopped", service
        assert host["LogConfig"]["Config"]["max-size"] == "10m", service
        assert settings["Config"]["Healthcheck"]["Test"][0] == "CMD", service


def test_only_what_people_use_is_published_and_on_loopback_only(created: ComposeRig) -> None:
    for service, settings in settings_of(created).items():
        bindings = settings["HostConfig"]["PortBindings"] or {}
        assert list(bindings) == ([PUBLISHED[service]] if service in PUBLISHED else []), service
        assert all(binding["HostIp"] == "127.0.0.1" for each in bindings.values() for binding in each), service


def test_nobody_is_root_or_may_write_but_agents(created: ComposeRig) -> None:
    for service, settings in settings_of(created).items():
        user = settings["Config"]["User"] or ""
        host = settings["HostConfig"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"], service
        assert not host["Privileged"], service
        if service == "agent":
            continue
        assert user.split(":")[0] not in {"", "0", "root"}, service
        assert host["CapDrop"] == ["ALL"], service
        assert host["ReadonlyRootfs"], service
        assert "docker.sock" not in str(host["Binds"]), service


# -- how it is used --------------------------------------------------------------------------------------------------------


def test_a_command_runs_from_the_host_and_from_a_container(rig: ComposeRig) -> None:
    for run in (rig.mesolite, rig.mesolite_inside):
        done = run("run", "--mem", "32", "--", "echo from-$MESOLITE_INDEX; exit 7")
        assert (done.returncode, done.stdout) == (7, "from-0\n"), done.stderr


def test_a_program_finds_redis_by_the_masters(rig: ComposeRig) -> None:
    address = find_cluster(",".join(rig.master_urls), environment={})
    assert (address.redis_url, address.cluster) == (rig.redis_url, rig.project)
    assert address.flower_url == rig.flower_url
    with batch.connect(address.redis_url, address.cluster) as cluster:
        results = list(cluster.submit("true", count=4, cpus=0.2, mem_mib=32).results(timeout_s=60))
    assert [result.exit_code for result in results] == [0] * 4


def test_a_task_in_a_sibling_container_has_its_limits_its_sandbox_and_a_peak(rig: ComposeRig) -> None:
    """Goal: sandboxes mean the same inside and outside of the agent. Method: a task writes into its own; the host reads it."""
    done = rig.mesolite(
        "run", "--name", "writes", "--cpus", "0.5", "--mem", "48", "--", "echo kept > file; sleep 1; pwd"
    )
    assert done.returncode == 0, done.stderr
    row = next(row for row in rig.operator().tasks(include_ended=True) if row.task_id.startswith("writes"))
    written = list(rig.work_dir.glob(f"agent-*/sandboxes/*/{row.task_id}/*/file"))
    assert [path.read_text() for path in written] == ["kept\n"]
    assert row.peak_mem_bytes is not None
    assert 0 < row.peak_mem_bytes <= 48 * 2**20


def test_a_celery_application_runs_on_it(rig: ComposeRig) -> None:
    """Goal: the profile `celery` is all it takes. Method: the example shop, whose greedy report gets 160 MiB and wants 400."""
    rig.environment["COMPOSE_PROFILES"] = "celery"
    try:
        rig.up()
        shop = ["python3", "-m", "mesolite.frameworks.examples.celery_shop", "--greedy-mib", "400"]
        done = rig.compose("exec", "-T", "celery", *shop, check=False)
        assert done.returncode == 0, f"{done.stderr}{rig.compose('logs', 'celery').stdout}"
        receipt, images, greedy = done.stdout.splitlines()
        assert receipt == "Ada paid 69.90 at attempt 2"
        assert len(set(images.split())) == 8
        assert greedy.startswith("MemoryLimitExceeded")
        assert "160 MiB" in greedy
        eventually(lambda: "shop.empty_carts" in rig.compose("logs", "celery").stdout, within_s=60)
    finally:
        rig.compose("rm", "--force", "--stop", "celery", "celery-beat")
        del rig.environment["COMPOSE_PROFILES"]


def test_a_task_is_followed_through_the_death_of_the_leading_master(rig: ComposeRig) -> None:
    """Goal: `logs -f` and listings survive a change of leader. Method: kill the leader while both are at it."""
    job = rig.mesolite(
        "run", "--name", "ticker", "--mem", "32", "-d", "--", "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 1; done"
    )
    assert job.returncode == 0, job.stderr
    task_id = f"{job.stdout.strip()}-0-1"
    eventually(lambda: rig.mesolite("logs", task_id).stdout.startswith("1\n"), within_s=30)
    followed: list[subprocess.CompletedProcess[str]] = []
    follower = threading.Thread(target=lambda: followed.append(rig.mesolite("logs", "-f", task_id)))
    follower.start()
    leader = rig.leader()
    assert leader is not None
    rig.kill(leader)
    began_s = time.monotonic()
    listed = rig.mesolite("ps")
    took_s = time.monotonic() - began_s
    assert listed.returncode == 0, listed.stderr
    eventually(lambda: task_id in rig.mesolite("ps").stdout, within_s=30)
    follower.join(60)
    assert followed[0].returncode == 0, followed[0].stderr
    assert followed[0].stdout == "".join(f"{number}\n" for number in range(1, 9))
    sys.stdout.write(f"a listing waited {took_s:.1f} s for the next leader\n")
    rig.start(leader)
    rig.wait_until_ready()


def test_a_task_is_followed_through_the_death_of_its_agent(rig: ComposeRig) -> None:
    """Goal: `run` shows all of a task's output and its exit code, whatever becomes of the agent. Method: kill it for 5 s."""
    ran: list[subprocess.CompletedProcess[str]] = []
    command = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $i; sleep 1; done; exit 3"
    runner = threading.Thread(
        target=lambda: ran.append(rig.mesolite("run", "--name", "orphan", "--mem", "32", "--", command))
    )
    runner.start()
    [row] = eventually(lambda: [row for row in rig.operator().tasks() if row.task_id.startswith("orphan")], within_s=30)
    [container] = eventually(rig.task_containers, within_s=30)
    number = rig.number_of(row.agent_id)
    rig.kill("agent", number)
    # Two lines of its output are written while nobody serves them.
    eventually(lambda: len(container.logs().splitlines()) >= 5, within_s=30)
    rig.start("agent", number)
    runner.join(60)
    assert (ran[0].returncode, ran[0].stdout.split()) == (3, [str(each) for each in range(1, 13)]), ran[0].stderr
    rig.wait_until_ready()


def test_agents_come_and_go_by_scaling(rig: ComposeRig) -> None:
    rig.scale(4)
    rig.wait_until_ready()
    rows = [row for row in rig.operator().agents() if row.status == "active"]
    assert len({row.agent_id for row in rows}) == 4
    assert sorted(path.name for path in rig.work_dir.glob("agent-*")) == [f"agent-{n}" for n in range(1, 5)]
    with batch.connect(rig.redis_url, rig.project) as cluster:
        results = list(cluster.submit("sleep 1", count=8, cpus=0.5, mem_mib=32).results(timeout_s=90))
    assert {result.agent_id for result in results} == {row.agent_id for row in rows}
    rig.scale(2)
    rig.wait_until_ready()


def test_the_cluster_comes_back_as_it_was_left(rig: ComposeRig) -> None:
    """Goal: who is primary and who is which agent is remembered. Method: a failover, then all containers made anew."""
    agents = {row.agent_id for row in rig.operator().agents() if row.status == "active"}
    before = rig.primary()
    assert before is not None
    rig.kill(before)
    eventually(lambda: rig.primary() not in {None, before}, within_s=30)
    promoted = rig.primary()
    rig.start(before)
    rig.wait_until_ready()
    rig.stop_all()
    rig.up()
    rig.wait_until_ready()
    assert rig.primary() == promoted
    assert {row.agent_id for row in rig.operator().agents() if row.status == "active"} <= agents
    settings = rig.compose("exec", "-T", before, "cat", "/data/redis.conf").stdout
    assert re.search(rf"^replicaof {rig.prefix}", settings, re.MULTILINE), "the old primary is told to follow"
    assert "min-replicas-to-write 1" in settings
    assert "appendonly yes" in settings
