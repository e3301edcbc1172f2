"""The process containerizer on this machine: limits, what is left behind, and an agent that dies."""

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mesolite.agent.containerizer import open_containerizer
from mesolite.agent.containerizer.cgroups import find_tree
from mesolite.agent.containerizer.contract import (
    ContainerEvent,
    ContainerExited,
    ContainerLaunchFailed,
    ContainerSpec,
    ContainerStarted,
)
from mesolite.agent.containerizer.policy import DEFAULT_USER, ContainerPolicy
from mesolite.agent.containerizer.process_table import ProcessTable
from mesolite.ids import AgentId, ContainerId
from mesolite.protocol import Network, Volume
from tests.contract.containerizer_hosts import GroupedProcessHost, Host, WatchedProcessHost
from tests.integration.containerizer_lives import COUNTER, agent_that_launches, is_counted_without_gap, kill_agent
from tests.waiting import eventually

POLICY = ContainerPolicy(max_output_bytes=64 * 1024, pids_limit=20)


@pytest.fixture(params=[GroupedProcessHost, WatchedProcessHost])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    """This machine, with control groups where they can be made, and without."""
    made: Host = request.param(tmp_path, POLICY)
    yield made
    made.clean()


@pytest.fixture
def grouped(tmp_path: Path) -> Iterator[Host]:
    """This machine with control groups."""
    if find_tree("probe") is None:
        pytest.skip("control groups cannot be written here")
    made = GroupedProcessHost(tmp_path, POLICY)
    yield made
    made.clean()


def final(host: Host, spec: ContainerSpec) -> ContainerExited | ContainerLaunchFailed | None:
    last = host.events_of(spec)[-1:]
    return next((event for event in last if isinstance(event, ContainerExited | ContainerLaunchFailed)), None)


def run(host: Host, spec: ContainerSpec) -> ContainerExited | ContainerLaunchFailed:
    """Run one container to its end."""
    host.open().launch(spec)
    event = eventually(partial(final, host, spec))
    assert event is not None
    return event


def stdout(spec: ContainerSpec) -> str:
    return (spec.sandbox / "stdout").read_text()


def has_lines(spec: ContainerSpec, count: int) -> bool:
    return (spec.sandbox / "stdout").exists() and stdout(spec).count("\n") > count


def living(spec: ContainerSpec) -> list[int]:
    """The processes that still bear a container's mark."""
    mark = f"mesolite-{spec.container_id}"
    return [process.pid for process in ProcessTable().members({mark: -1})[mark]]


def test_nothing_of_the_agents_environment_reaches_the_task(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "x")
    spec = host.spec("env", environment={"GREETING": "a b=c"})
    run(host, spec)
    names = {line.partition("=")[0] for line in stdout(spec).splitlines()}
    assert {"GREETING", "PATH", "LANG", "MESOS_SANDBOX"} <= names
    assert not any("SECRET" in name or "PYTEST" in name for name in names)


def test_the_task_starts_in_its_sandbox_with_nothing_to_read_and_no_foreign_files(host: Host) -> None:
    spec = host.spec("sh", "-c", 'pwd; cat; ls -l /proc/self/fd | grep -c ">"')
    run(host, spec)
    # ls has 0, 1, 2 and the folder that it lists.
    assert stdout(spec).split() == [str(spec.sandbox), "4"]


@pytest.mark.parametrize("way", ["sleep 3600 &", "setsid sleep 3600 &", "(trap '' TERM HUP; sleep 3600) &"])
def test_what_a_task_leaves_behind_is_ended_with_it(host: Host, way: str) -> None:
    spec = host.spec("sh", "-c", f"{way} echo started")
    event = run(host, spec)
    assert isinstance(event, ContainerExited)
    assert (event.exit_code, stdout(spec)) == (0, "started\n")
    assert living(spec) == []


def test_a_kill_reaches_every_process_of_the_task(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("sh", "-c", "trap 'echo parent; exit 3' TERM; sh -c 'trap \"echo child; exit\" TERM; echo up; "
                     "while :; do sleep 0.02; done' & wait; wait")  # fmt: skip
    containerizer.launch(spec)
    eventually(lambda: "up" in stdout(spec) if (spec.sandbox / "stdout").exists() else False)
    containerizer.kill(spec.container_id, grace_ms=60_000)
    event = eventually(partial(final, host, spec))
    assert isinstance(event, ContainerExited)
    assert event.exit_code == 3
    assert "parent" in stdout(spec)


def test_memory_of_all_processes_together_is_limited(host: Host) -> None:
    half = "python3 -c 'import time; x = bytearray(24 << 20); time.sleep(1)'"
    spec = host.spec("sh", "-c", f"{half} & {half} & wait", mem_mib=40)
    event = run(host, spec)
    assert isinstance(event, ContainerExited)
    assert event.oom_killed


def test_a_task_within_its_limit_is_left_alone_and_its_peak_is_known(host: Host) -> None:
    program = "import time; x = bytearray(30 << 20); time.sleep(0.4)"
    event = run(host, host.spec("python3", "-c", program, mem_mib=128))
    assert isinstance(event, ContainerExited)
    assert (event.exit_code, event.oom_killed) == (0, False)
    assert event.peak_mem_bytes is not None
    assert 30 << 20 <= event.peak_mem_bytes < 100 << 20


def test_a_busy_task_gets_no_more_cpu_than_its_quota(grouped: Host) -> None:
    program = "import time; a=time.time()\nwhile time.time()-a < 1.5: pass\nprint(time.process_time()/(time.time()-a))"
    spec = grouped.spec("python3", "-c", program, cpus_milli=200)
    run(grouped, spec)
    assert 0.05 < float(stdout(spec)) < 0.35


def test_a_fork_bomb_stops_at_the_process_limit(grouped: Host) -> None:
    spec = grouped.spec("sh", "-c", "i=0; while [ $i -lt 40 ]; do sleep 30 & i=$((i+1)); done")
    run(grouped, spec)
    assert "fork" in (spec.sandbox / "stderr").read_text().lower()


def test_no_control_group_is_left_behind(grouped: Host) -> None:
    containerizer = grouped.open()
    specs = [grouped.spec(program) for program in ("true", "false", "no-such-executable") * 5]
    for spec in specs:
        containerizer.launch(spec)
    eventually(lambda: all(final(grouped, spec) for spec in specs))
    tree = find_tree(grouped.agent_id)
    assert tree is not None
    left = [
        folder for spec in specs for folder in tree.group(spec.container_id).directories.values() if folder.exists()
    ]
    assert left == []
    containerizer.close()
    assert not any(folder.exists() for folder in tree.bases.values())


def test_long_output_is_bounded_and_the_newest_is_kept(host: Host) -> None:
    containerizer = host.open()
    spec = host.spec("sh", "-c", "seq 1 30000; while [ ! -e go ]; do sleep 0.05; done; seq 30001 30010")
    containerizer.launch(spec)
    eventually(lambda: (spec.sandbox / "stdout.1").exists() and (spec.sandbox / "stdout").stat().st_size == 0)
    (spec.sandbox / "go").touch()
    eventually(partial(final, host, spec))
    assert stdout(spec).split() == [str(number) for number in range(30001, 30011)]
    assert (spec.sandbox / "stdout.1").stat().st_size <= 64 * 1024
    assert (spec.sandbox / "stdout.1").read_text().endswith("\n30000\n")


def test_a_task_that_makes_its_output_a_link_hurts_only_itself(host: Host, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    first = host.open()
    spec = host.spec("sh", "-c", f"rm stdout; ln -s {victim} stdout; echo ready > there; sleep 3600")
    first.launch(spec)
    eventually((spec.sandbox / "there").exists)
    second, _ = host.restart(first)
    second.kill(spec.container_id, grace_ms=0)
    eventually(partial(final, host, spec))
    assert victim.read_text() == "untouched"


def test_an_agent_killed_without_a_word_loses_neither_output_nor_the_exit_code(host: Host) -> None:
    container_id = ContainerId(f"{host.spec('true').container_id}-killed")
    agent = agent_that_launches(host, "process", container_id, f"{COUNTER}; exit 5")
    sandbox = host.work_dir / "sandboxes" / container_id
    eventually(lambda: (sandbox / "stdout").read_text().count("\n") > 20)
    kill_agent(agent)
    assert host.open().recover() == [container_id]
    event = eventually(lambda: next((event for event in host.events if isinstance(event, ContainerExited)), None))
    assert event is not None
    assert (event.container_id, event.exit_code) == (container_id, 5)
    assert is_counted_without_gap((sandbox / "stdout").read_text())


def test_the_exit_of_a_task_that_ended_without_an_agent_is_known_later(host: Host) -> None:
    container_id = ContainerId(f"{host.spec('true').container_id}-alone")
    agent = agent_that_launches(host, "process", container_id, "touch up; sleep 0.3; touch ended; exit 9")
    sandbox = host.work_dir / "sandboxes" / container_id
    eventually((sandbox / "up").exists)
    kill_agent(agent)
    eventually((sandbox / "ended").exists)
    host.open().recover()
    event = eventually(lambda: next((event for event in host.events if isinstance(event, ContainerExited)), None))
    assert event is not None
    assert event.exit_code == 9


@pytest.mark.parametrize(
    ("stage", "wish"),
    [
        ("image", {"image": "python:3"}),
        ("start", {"volumes": (Volume(host_path="/x", container_path="/y"),)}),
        ("start", {"read_only_root": True}),
        ("start", {"network": Network.NONE}),
    ],
)
def test_what_only_docker_can_give_is_refused_not_ignored(host: Host, stage: str, wish: dict[str, object]) -> None:
    spec = host.spec("true", **wish)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    event = run(host, spec)
    assert isinstance(event, ContainerLaunchFailed)
    assert event.stage == stage
    assert "Docker" in event.message


def test_a_file_in_the_sandbox_can_be_executed_and_one_without_permission_cannot(host: Host) -> None:
    good, bad = host.spec("./run"), host.spec("./run")
    for spec, mode in ((good, 0o755), (bad, 0o644)):
        (spec.sandbox / "run").write_text("#!/bin/sh\necho ran\n")
        (spec.sandbox / "run").chmod(mode)
    run(host, good)
    assert stdout(good) == "ran\n"
    event = run(host, bad)
    assert isinstance(event, ContainerLaunchFailed)
    assert "not executable" in event.message


def test_tasks_of_a_root_agent_run_as_nobody_where_nobody_can_reach_them() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        host = GroupedProcessHost(Path(folder), POLICY)
        spec = host.spec("sh", "-c", "id -u; id -G; touch mine")
        run(host, spec)
        host.clean()
        assert stdout(spec).split() == [str(DEFAULT_USER.uid), str(DEFAULT_USER.gid)]
        assert (spec.sandbox / "mine").stat().st_uid == DEFAULT_USER.uid


def test_a_closed_work_dir_is_said_in_the_name(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    tmp_path.chmod(0o700)
    events: list[ContainerEvent] = []
    chosen = open_containerizer("process", POLICY, AgentId("a"), tmp_path, events.append)
    chosen.containerizer.close()
    assert "run as uid 0" in chosen.reason


def test_root_is_refused_unless_allowed(host: Host) -> None:
    event = run(host, host.spec("true", user="root"))
    assert isinstance(event, ContainerLaunchFailed)
    assert "allow_root" in event.message


def test_many_containers_run_at_once_and_all_are_reported(host: Host) -> None:
    containerizer = host.open()
    specs = [host.spec("sh", "-c", f"exit {number}") for number in range(30)]
    for spec in specs:
        containerizer.launch(spec)
    eventually(lambda: all(final(host, spec) for spec in specs))
    ends = [final(host, spec) for spec in specs]
    assert [event.exit_code for event in ends if isinstance(event, ContainerExited)] == list(range(30))
    assert sum(isinstance(event, ContainerStarted) for event in host.events) == 30
