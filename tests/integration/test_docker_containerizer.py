"""The Docker containerizer against a real engine: limits, confinement, output, and an engine that goes away."""

import gc
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import docker
import pytest

from mesolite.agent.containerizer import open_containerizer
from mesolite.agent.containerizer.contract import (
    ContainerEvent,
    ContainerExited,
    ContainerLaunchFailed,
    ContainerPreparing,
    ContainerSpec,
    ContainerStarted,
)
from mesolite.agent.containerizer.docker_containerizer import DockerContainerizer
from mesolite.agent.containerizer.docker_engine import DockerEngine, FoundContainer
from mesolite.agent.containerizer.policy import ContainerPolicy
from mesolite.errors import DockerUnavailable
from mesolite.ids import AgentId, ContainerId
from mesolite.protocol import Network, Volume
from tests.contract.containerizer_hosts import IMAGE, DockerHost
from tests.integration.containerizer_lives import COUNTER, agent_that_launches, is_counted_without_gap, kill_agent
from tests.integration.flaky_engine import REAL_SOCKET, FlakyEngine
from tests.integration.image_registry import Registry
from tests.waiting import eventually

pytestmark = pytest.mark.docker


@pytest.fixture
def host(tmp_path: Path, docker_engine: docker.DockerClient) -> Iterator[DockerHost]:
    """This machine's engine, with small output files and one allowed folder."""
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    policy = ContainerPolicy(
        default_image=IMAGE, max_output_bytes=64 * 1024, allowed_host_paths=(str(allowed),), pids_limit=20
    )
    made = DockerHost(tmp_path, policy)
    yield made
    made.clean()


def run(host: DockerHost, spec: ContainerSpec) -> ContainerExited | ContainerLaunchFailed:
    """Run one container to its end on a containerizer of its own."""
    containerizer = host.open()
    containerizer.launch(spec)
    try:
        event = eventually(lambda: final(host, spec), within_s=60)
        assert event is not None
        return event
    finally:
        containerizer.close()


def final(host: DockerHost, spec: ContainerSpec) -> ContainerExited | ContainerLaunchFailed | None:
    last = host.events_of(spec)[-1:]
    return next((event for event in last if isinstance(event, ContainerExited | ContainerLaunchFailed)), None)


def stdout(spec: ContainerSpec) -> str:
    return (spec.sandbox / "stdout").read_text()


def test_the_engine_is_told_hard_limits(host: DockerHost, docker_engine: docker.DockerClient) -> None:
    containerizer = host.open()
    spec = host.spec("sleep", "3600", mem_mib=48, cpus_milli=250)
    containerizer.launch(spec)
    eventually(lambda: ContainerStarted(container_id=spec.container_id) in host.events)
    limits = docker_engine.api.inspect_container(f"mesolite-{spec.container_id}")["HostConfig"]
    memory_bytes = 48 * 1024 * 1024
    assert (limits["Memory"], limits["MemorySwap"]) == (memory_bytes, memory_bytes)
    assert limits["CpuQuota"] / limits["CpuPeriod"] == 0.25
    assert limits["PidsLimit"] == 20


def test_a_busy_container_gets_no_more_cpu_than_its_quota(host: DockerHost) -> None:
    program = "import time; a=time.time()\nwhile time.time()-a < 1.5: pass\nprint(time.process_time()/(time.time()-a))"
    spec = host.spec("python3", "-c", program, cpus_milli=200)
    run(host, spec)
    assert 0.05 < float(stdout(spec)) < 0.35


def test_a_container_runs_as_nobody_without_capabilities_or_new_privileges(host: DockerHost) -> None:
    spec = host.spec("sh", "-c", "id -u; id -g; grep -E 'CapEff|NoNewPrivs' /proc/self/status; pwd; touch mine")
    run(host, spec)
    lines = stdout(spec).split()
    uid = spec.sandbox.stat().st_uid
    assert lines[:2] == [str(uid), str(spec.sandbox.stat().st_gid)]
    assert uid != 0
    assert lines[2:] == ["CapEff:", "0000000000000000", "NoNewPrivs:", "1", "/mnt/mesos/sandbox"]
    assert (spec.sandbox / "mine").exists()


def test_the_environment_is_the_tasks_and_says_where_the_sandbox_is(
    host: DockerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "x")
    spec = host.spec("env", environment={"GREETING": "a b=c"})
    run(host, spec)
    lines = stdout(spec).splitlines()
    assert "GREETING=a b=c" in lines
    assert "MESOS_SANDBOX=/mnt/mesos/sandbox" in lines
    assert not any("SECRET" in line for line in lines)


def test_a_read_only_root_can_be_written_only_in_the_sandbox(host: DockerHost) -> None:
    spec = host.spec("sh", "-c", "touch /tmp/x || touch y", read_only_root=True)
    assert run(host, spec) == ContainerExited(
        container_id=spec.container_id,
        exit_code=0,
        oom_killed=False,
        peak_mem_bytes=final_peak(host, spec),
    )
    assert (spec.sandbox / "y").exists()


def final_peak(host: DockerHost, spec: ContainerSpec) -> int | None:
    event = final(host, spec)
    assert isinstance(event, ContainerExited)
    return event.peak_mem_bytes


def test_a_fork_bomb_stops_at_the_process_limit(host: DockerHost) -> None:
    program = "i=0; while [ $i -lt 40 ]; do sleep 30 & i=$((i+1)); done"
    spec = host.spec("sh", "-c", program)
    run(host, spec)
    assert "fork" in (spec.sandbox / "stderr").read_text().lower()


def test_no_network_means_only_the_loopback(host: DockerHost) -> None:
    spec = host.spec("sh", "-c", "ls /sys/class/net", network=Network.NONE)
    run(host, spec)
    assert stdout(spec).split() == ["lo"]


def test_an_allowed_volume_is_mounted_and_read_only_by_default(host: DockerHost) -> None:
    (host.work_dir.parent / "allowed" / "data").write_text("content")
    volume = Volume(host_path=str(host.work_dir.parent / "allowed"), container_path="/data")
    spec = host.spec("sh", "-c", "cat /data/data; touch /data/new 2>&1 && echo written", volumes=(volume,))
    run(host, spec)
    assert stdout(spec).startswith("content")
    assert "written" not in stdout(spec)


@pytest.mark.parametrize("path", ["/etc", "{allowed}/../..", "{allowed}/link"])
def test_a_volume_outside_of_what_is_allowed_is_refused(host: DockerHost, path: str) -> None:
    allowed = host.work_dir.parent / "allowed"
    (allowed / "link").symlink_to("/etc")
    volume = Volume(host_path=path.format(allowed=allowed), container_path="/data")
    event = run(host, host.spec("true", volumes=(volume,)))
    assert isinstance(event, ContainerLaunchFailed)
    assert "allowed_host_paths" in event.message


@pytest.mark.parametrize("user", ["0", "0:0", "root"])
def test_root_is_refused(host: DockerHost, user: str) -> None:
    event = run(host, host.spec("true", user=user))
    assert isinstance(event, ContainerLaunchFailed)
    assert "allow_root" in event.message


def test_bytes_that_are_not_text_arrive_as_they_were(host: DockerHost) -> None:
    program = "head -c 50000 /dev/urandom > file; cat file; sha256sum file >&2"
    spec = host.spec("sh", "-c", program)
    run(host, spec)
    digest = hashlib.sha256((spec.sandbox / "stdout").read_bytes()).hexdigest()
    assert (spec.sandbox / "stderr").read_text().startswith(digest)


def test_long_output_is_bounded_and_the_newest_is_kept(host: DockerHost) -> None:
    spec = host.spec("sh", "-c", "seq 1 100000", cpus_milli=2000)
    run(host, spec)
    kept = (spec.sandbox / "stdout.1").read_bytes() + (spec.sandbox / "stdout").read_bytes()
    assert 64 * 1024 <= len(kept) <= 128 * 1024
    expected = "".join(f"{number}\n" for number in range(1, 100001)).encode()
    assert expected.endswith(kept)


def test_output_shows_while_the_container_runs(host: DockerHost) -> None:
    containerizer = host.open()
    spec = host.spec("sh", "-c", "printf unfinished; sleep 3600")
    containerizer.launch(spec)
    eventually(lambda: (spec.sandbox / "stdout").exists() and stdout(spec) == "unfinished")
    assert final(host, spec) is None


def has_lines(spec: ContainerSpec, count: int) -> bool:
    return (spec.sandbox / "stdout").exists() and stdout(spec).count("\n") > count


@pytest.mark.parametrize("lives", [2, 4])
def test_output_continues_across_restarts_without_loss_or_repetition(host: DockerHost, lives: int) -> None:
    containerizer = host.open()
    spec = host.spec("sh", "-c", COUNTER)
    containerizer.launch(spec)
    for life in range(1, lives):
        eventually(partial(has_lines, spec, life * 20))
        containerizer, recovered = host.restart(containerizer)
        assert recovered == [spec.container_id]
    event = eventually(lambda: final(host, spec))
    assert isinstance(event, ContainerExited)
    assert event.exit_code == 0
    assert is_counted_without_gap(stdout(spec))
    assert is_counted_without_gap((spec.sandbox / "stderr").read_text(), "e")


def test_a_rotated_output_continues_after_a_restart_too(host: DockerHost) -> None:
    containerizer = host.open()
    program = "seq 1 20000; touch half; while [ ! -e go ]; do sleep 0.05; done; seq 20001 40000"
    spec = host.spec("sh", "-c", program, cpus_milli=2000)
    containerizer.launch(spec)
    eventually(lambda: (spec.sandbox / "half").exists() and (spec.sandbox / "stdout").read_text().endswith("20000\n"))
    containerizer, _ = host.restart(containerizer)
    (spec.sandbox / "go").touch()
    eventually(lambda: final(host, spec))
    kept = (spec.sandbox / "stdout.1").read_bytes() + (spec.sandbox / "stdout").read_bytes()
    assert "".join(f"{number}\n" for number in range(1, 40001)).encode().endswith(kept)
    assert len(kept) >= 64 * 1024
    containerizer.forget([spec.container_id])
    eventually(lambda: not (host.work_dir / "containers" / spec.container_id).exists())


def test_an_agent_killed_without_a_word_loses_nothing(host: DockerHost) -> None:
    spec = host.spec("true")
    container_id = ContainerId(f"{spec.container_id}-killed")
    agent = agent_that_launches(host, "docker", container_id, COUNTER)
    sandbox = host.work_dir / "sandboxes" / container_id
    eventually(lambda: (sandbox / "stdout").read_text().count("\n") > 20)
    kill_agent(agent)
    assert host.open().recover() == [container_id]
    event = eventually(lambda: next((event for event in host.events if isinstance(event, ContainerExited)), None))
    assert event is not None
    assert (event.container_id, event.exit_code) == (container_id, 0)
    assert is_counted_without_gap((sandbox / "stdout").read_text())


@pytest.mark.parametrize("when", ["while the agent is away", "under the next agent"])
def test_a_container_that_outlived_its_agent_is_limited_as_before(
    host: DockerHost, docker_engine: docker.DockerClient, when: str
) -> None:
    """Goal: the memory limit holds, and that it was the reason of the end is known, whoever looked on. Method: kill -9."""
    container_id = ContainerId(f"{host.spec('true').container_id}-limited")
    program = "while [ ! -e go ]; do sleep 0.05; done; exec tail /dev/zero"
    kill_agent(agent_that_launches(host, "docker", container_id, program))
    go = host.work_dir / "sandboxes" / container_id / "go"
    if when == "while the agent is away":
        go.touch()
        container = docker_engine.containers.get(f"mesolite-{container_id}")
        assert container.wait()["StatusCode"] == 137
    assert host.open().recover() == [container_id]
    go.touch()
    event = eventually(lambda: next((event for event in host.events if isinstance(event, ContainerExited)), None))
    assert event is not None
    assert (event.container_id, event.exit_code, event.oom_killed) == (container_id, 137, True)
    assert event.peak_mem_bytes is not None
    assert event.peak_mem_bytes >= 64 * 1024 * 1024


def test_nothing_is_left_in_the_engine_of_what_failed_or_is_forgotten(
    host: DockerHost, docker_engine: docker.DockerClient
) -> None:
    containerizer = host.open()
    good, bad = host.spec("false"), host.spec("no-such-executable")
    for spec in (good, bad):
        containerizer.launch(spec)
    eventually(lambda: final(host, good) and final(host, bad))
    containerizer.forget([good.container_id])

    def is_gone() -> bool:
        names = json.dumps(docker_engine.api.containers(all=True))
        return f"mesolite-{good.container_id}" not in names and f"mesolite-{bad.container_id}" not in names

    eventually(is_gone)


def test_a_container_removed_behind_our_back_is_reported(host: DockerHost, docker_engine: docker.DockerClient) -> None:
    containerizer = host.open()
    spec = host.spec("sleep", "3600")
    containerizer.launch(spec)
    eventually(lambda: ContainerStarted(container_id=spec.container_id) in host.events)
    docker_engine.api.remove_container(f"mesolite-{spec.container_id}", force=True)
    event = eventually(lambda: final(host, spec))
    assert isinstance(event, ContainerExited)
    assert event.exit_code in (None, 137)


def test_a_start_that_was_under_way_when_the_agent_died_is_waited_for(
    host: DockerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a container that the Engine is about to start is not taken for one that never ran.

    Method: the first three listings of the next life show it as it was a moment before.
    """
    containerizer = host.open()
    spec = host.spec("sh", "-c", "while [ ! -e go ]; do sleep 0.05; done; exit 7")
    containerizer.launch(spec)
    eventually(lambda: ContainerStarted(container_id=spec.container_id) in host.events)
    containerizer.close()
    find, listings = DockerEngine.find, count(1)

    def of_a_moment_ago(engine: DockerEngine, labels: list[str]) -> list[FoundContainer]:
        found = find(engine, labels)
        return [replace(each, state="created") for each in found] if next(listings) <= 3 else found

    monkeypatch.setattr(DockerEngine, "find", of_a_moment_ago)
    assert host.open().recover() == [spec.container_id]
    (spec.sandbox / "go").touch()
    event = eventually(lambda: final(host, spec))
    assert isinstance(event, ContainerExited)
    assert event.exit_code == 7


def test_two_agents_of_one_name_do_not_adopt_each_others_containers(host: DockerHost, tmp_path: Path) -> None:
    containerizer = host.open()
    spec = host.spec("sleep", "3600")
    containerizer.launch(spec)
    eventually(lambda: ContainerStarted(container_id=spec.container_id) in host.events)
    (tmp_path / "other").mkdir()
    other = DockerHost(tmp_path / "other", host.policy)
    assert other.open().recover() == []
    other.clean()


def test_a_broken_connection_to_the_engine_costs_neither_output_nor_the_exit(
    host: DockerHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: event stream and output connections break, as when the engine restarts with live restore.

    Method: a proxy in front of the engine's socket cuts all connections while the container writes.
    """
    if not Path(REAL_SOCKET).exists():
        pytest.skip("the engine has no local socket to put a proxy before")
    proxy = FlakyEngine(tmp_path / "engine.sock")
    monkeypatch.setenv("DOCKER_HOST", proxy.url)
    containerizer = host.open()
    spec = host.spec("sh", "-c", f"{COUNTER}; while [ ! -e go ]; do sleep 0.05; done; exit 5")
    containerizer.launch(spec)
    eventually(partial(has_lines, spec, 20))
    proxy.cut()
    eventually(lambda: stdout(spec).endswith("done\n"))
    (spec.sandbox / "go").touch()
    event = eventually(lambda: final(host, spec))
    containerizer.close()
    proxy.close()
    assert isinstance(event, ContainerExited)
    assert event.exit_code == 5
    assert is_counted_without_gap(stdout(spec))


def test_an_engine_that_hangs_is_noticed_and_what_runs_is_left_as_it_is(
    host: DockerHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: no silent waiting, and no verdict on what nobody can see. Method: a proxy holds everything for a while."""
    monkeypatch.setattr("mesolite.agent.containerizer.docker_watch.PROBE_EVERY_S", 0.05)
    monkeypatch.setattr("mesolite.agent.containerizer.docker_engine.PROBE_TIMEOUT_S", 1)
    proxy = FlakyEngine(tmp_path / "engine.sock")
    monkeypatch.setenv("DOCKER_HOST", proxy.url)
    containerizer = host.open()
    running = host.spec("sh", "-c", f"{COUNTER}; while [ ! -e go ]; do sleep 0.05; done; exit 5")
    containerizer.launch(running)
    eventually(partial(has_lines, running, 20))
    proxy.hang()
    eventually(lambda: containerizer.trouble)
    late = host.spec("true")
    containerizer.launch(late)
    failed = eventually(lambda: final(host, late))
    assert isinstance(failed, ContainerLaunchFailed)
    assert "did not answer" in failed.message
    (running.sandbox / "go").touch()
    assert final(host, running) is None
    proxy.go_on()
    event = eventually(lambda: final(host, running))
    eventually(lambda: not containerizer.trouble)
    again = host.spec("true")
    containerizer.launch(again)
    assert isinstance(eventually(lambda: final(host, again)), ContainerExited)
    containerizer.close()
    proxy.close()
    assert isinstance(event, ContainerExited)
    assert event.exit_code == 5
    assert is_counted_without_gap(stdout(running))


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry on this machine."""
    made = Registry()
    yield made
    made.close()


def test_an_absent_image_is_pulled_once_and_that_shows_as_preparing(
    host: DockerHost, registry: Registry, docker_engine: docker.DockerClient
) -> None:
    image = registry.image("absent")
    first, second = host.spec("/seven", image=image), host.spec("/seven", image=image)
    event = run(host, first)
    assert isinstance(event, ContainerExited)
    assert event.exit_code == 7
    assert [type(seen) for seen in host.events_of(first)] == [ContainerPreparing, ContainerStarted, ContainerExited]
    questions = registry.questions
    run(host, second)
    assert [type(seen) for seen in host.events_of(second)] == [ContainerStarted, ContainerExited]
    assert registry.questions == questions
    # By force, because a container that has just ended may not have been removed yet.
    docker_engine.api.remove_image(image, force=True)


def test_a_forced_pull_asks_the_registry_again(
    host: DockerHost, registry: Registry, docker_engine: docker.DockerClient
) -> None:
    image = registry.image("forced")
    run(host, host.spec("/seven", image=image))
    questions = registry.questions
    spec = host.spec("/seven", image=image, force_pull_image=True)
    event = run(host, spec)
    assert isinstance(event, ContainerExited)
    assert registry.questions > questions
    assert isinstance(host.events_of(spec)[0], ContainerPreparing)
    docker_engine.api.remove_image(image, force=True)


def test_auto_takes_docker_where_the_image_is_at_hand(tmp_path: Path, docker_engine: docker.DockerClient) -> None:
    events: list[ContainerEvent] = []
    policy = ContainerPolicy(default_image=IMAGE)
    chosen = open_containerizer("auto", policy, AgentId("a"), tmp_path, events.append)
    chosen.containerizer.close()
    assert isinstance(chosen.containerizer, DockerContainerizer)
    assert IMAGE in chosen.reason


def test_auto_takes_processes_where_the_image_cannot_be_had(tmp_path: Path, docker_engine: docker.DockerClient) -> None:
    events: list[ContainerEvent] = []
    policy = ContainerPolicy(default_image="localhost:1/missing:none")
    chosen = open_containerizer("auto", policy, AgentId("a"), tmp_path, events.append)
    chosen.containerizer.close()
    assert chosen.containerizer.name.startswith("process")
    assert "localhost:1/missing:none" in chosen.reason


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_engine_that_goes_away_is_an_unavailability_not_a_refusal(
    tmp_path: Path, docker_engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FlakyEngine(tmp_path / "engine.sock")
    monkeypatch.setenv("DOCKER_HOST", proxy.url)
    engine = DockerEngine.connect()
    proxy.close()
    with pytest.raises(DockerUnavailable):
        engine.info()
    engine.close()
    # The SDK forgets to close a socket that could not be connected: let that be noticed here, where it is forgiven.
    gc.collect()


def test_no_engine_is_said_so_and_auto_takes_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    events: list[ContainerEvent] = []
    with pytest.raises(DockerUnavailable, match=r"nothing\.sock"):
        open_containerizer("docker", ContainerPolicy(), AgentId("a"), tmp_path, events.append)
    chosen = open_containerizer("auto", ContainerPolicy(), AgentId("a"), tmp_path, events.append)
    chosen.containerizer.close()
    assert chosen.containerizer.name.startswith("process")
    assert "no Docker Engine answers" in chosen.reason
