"""What tasks may ask of a host, and what the engine and the kernel are then told."""

import os
from pathlib import Path
from typing import Any

import pytest

from mesolite.agent.containerizer.cgroups import Group, Limits, docker_peak_paths, find_tree
from mesolite.agent.containerizer.contract import ContainerSpec
from mesolite.agent.containerizer.docker_config import container_body, owner_labels
from mesolite.agent.containerizer.policy import (
    DEFAULT_USER,
    ContainerPolicy,
    User,
    allowed_volume,
    check_allowed,
    resolve_user,
)
from mesolite.agent.permissions import may_execute, may_reach, may_read
from mesolite.errors import LaunchError
from mesolite.ids import AgentId, ContainerId
from mesolite.protocol import Network, Volume


def spec(**fields: Any) -> ContainerSpec:
    """A modest container."""
    defaults: dict[str, Any] = {
        "container_id": ContainerId("c1"),
        "argv": ("true",),
        "environment": {},
        "sandbox": Path("/sandbox"),
        "cpus_milli": 500,
        "mem_mib": 64,
        "image": None,
    }
    return ContainerSpec(**{**defaults, **fields})


def body(policy: ContainerPolicy | None = None, **fields: Any) -> dict[str, Any]:
    labels = owner_labels(AgentId("a1"), "cluster", Path("/work-dir"))
    return container_body(spec(**fields), policy or ContainerPolicy(), DEFAULT_USER, labels)


# -- users ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"), [(None, DEFAULT_USER), ("1000", User(1000, 1000)), ("1000:50", User(1000, 50))]
)
def test_users_are_numbers_or_the_default(monkeypatch: pytest.MonkeyPatch, text: str | None, expected: User) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert resolve_user(text, ContainerPolicy(), default=DEFAULT_USER) == expected


@pytest.mark.parametrize("text", ["0", "0:0", "0:1000", "root"])
def test_root_needs_leave(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(LaunchError, match="allow_root"):
        resolve_user(text, ContainerPolicy(), default=DEFAULT_USER)
    assert resolve_user(text, ContainerPolicy(allow_root=True), default=DEFAULT_USER).uid == 0


@pytest.mark.parametrize(
    "text", ["", ":", "1000:", "1000:x", "-1", "1000:1:2", "no such name", "4294967295", "root:7", "²"]
)
def test_what_names_no_user_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if text == "1000:":
        assert resolve_user(text, ContainerPolicy(), default=DEFAULT_USER) == User(1000, 1000)
        return
    with pytest.raises(LaunchError):
        resolve_user(text, ContainerPolicy(), default=DEFAULT_USER)


def test_an_agent_that_is_not_root_cannot_become_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LaunchError, match="cannot become"):
        resolve_user("2000", ContainerPolicy(), default=DEFAULT_USER)
    assert resolve_user("1000", ContainerPolicy(), default=DEFAULT_USER).uid == 1000


# -- wishes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "setting"),
    [({"privileged": True}, "allow_privileged"), ({"network": Network.HOST}, "allow_host_network")],
)
def test_what_reaches_out_needs_leave(wish: dict[str, Any], setting: str) -> None:
    with pytest.raises(LaunchError, match=setting):
        check_allowed(spec(**wish), ContainerPolicy())
    allowing: dict[str, Any] = {setting: True}
    check_allowed(spec(**wish), ContainerPolicy(**allowing))


@pytest.mark.parametrize(
    "fields",
    [
        {"argv": ()},
        {"argv": ("",)},
        {"argv": ("a\0b",)},
        {"environment": {"A": "\0"}},
        {"environment": {"": "x"}},
        {"environment": {"A=B": "x"}},
    ],
)
def test_what_no_process_can_be_given_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(LaunchError):
        check_allowed(spec(**fields), ContainerPolicy())


def test_a_relative_volume_lies_in_the_sandbox_on_both_sides(tmp_path: Path) -> None:
    volume = Volume(host_path="data", container_path="mounted")
    found = allowed_volume(volume, spec(sandbox=tmp_path), ContainerPolicy())
    assert found == (tmp_path.resolve() / "data", "/mnt/mesos/sandbox/mounted")


@pytest.mark.parametrize(("host", "container"), [("../x", "y"), ("x", "../y"), ("x", "."), ("link", "y")])
def test_a_relative_volume_cannot_leave_the_sandbox(tmp_path: Path, host: str, container: str) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(LaunchError, match="leaves the sandbox"):
        allowed_volume(Volume(host_path=host, container_path=container), spec(sandbox=tmp_path), ContainerPolicy())


# -- what the engine is told ----------------------------------------------------------------------------------------------


def test_a_container_is_confined_by_default() -> None:
    config = body()["HostConfig"]
    assert (config["CapDrop"], config["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    assert config["NetworkMode"] == "bridge"
    assert "Privileged" not in config


def test_the_operator_says_which_network_containers_join() -> None:
    policy = ContainerPolicy(bridge_network="shop", allow_host_network=True)
    modes = [body(policy, network=each)["HostConfig"]["NetworkMode"] for each in Network]
    assert dict(zip(Network, modes, strict=True)) == {
        Network.BRIDGE: "shop",
        Network.HOST: "host",
        Network.NONE: "none",
    }


def test_limits_are_hard_and_swap_is_none() -> None:
    config = body(cpus_milli=1500, mem_mib=100)["HostConfig"]
    assert config["CpuQuota"] == config["CpuPeriod"] * 3 // 2
    assert config["Memory"] == config["MemorySwap"] == 100 * 1024 * 1024


def test_the_smallest_container_is_one_that_the_engine_takes() -> None:
    config = body(cpus_milli=10, mem_mib=4)["HostConfig"]
    assert (config["CpuQuota"], config["Memory"]) == (1000, 6 * 1024 * 1024)


def test_an_images_entry_point_does_not_come_before_the_arguments() -> None:
    told = body(argv=("python", "-c", "x"), image="an/image")
    assert (told["Image"], told["Entrypoint"], told["Cmd"]) == ("an/image", ["python"], ["-c", "x"])


def test_a_task_cannot_take_another_agents_or_containers_labels() -> None:
    labels = body(labels={"mesolite.agent": "other", "mesolite.container": "other", "mine": "x"})["Labels"]
    assert (labels["mesolite.agent"], labels["mesolite.container"], labels["mine"]) == ("a1", "c1", "x")


def test_a_task_cannot_move_its_sandbox_but_its_home() -> None:
    environment = body(environment={"MESOS_SANDBOX": "/x", "HOME": "/y"})["Env"]
    assert {"MESOS_SANDBOX=/mnt/mesos/sandbox", "HOME=/y"} <= set(environment)


# -- permissions ----------------------------------------------------------------------------------------------------------


def test_mode_bits_decide_what_another_user_may(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    file.chmod(0o640)
    found = file.stat()
    stranger = User(found.st_uid + 1, found.st_gid + 1)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not may_read(file, found, stranger)
    assert not may_execute(file, User(found.st_uid, found.st_gid))
    assert not may_reach(closed / "x", stranger)
    assert may_reach(closed / "x", User(0, 0))


# -- control groups -------------------------------------------------------------------------------------------------------


def test_version_two_is_told_in_its_own_words(tmp_path: Path) -> None:
    group = Group(2, dict.fromkeys(("memory", "cpu", "pids"), tmp_path / "g"))
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "memory.swap.max").touch()
    group.create(Limits(cpus_milli=250, mem_mib=32, pids=7))
    group.enter(1234)
    told = {path.name: path.read_text() for path in (tmp_path / "g").iterdir()}
    assert told == {
        "memory.max": str(32 << 20),
        "memory.swap.max": "0",
        "cpu.max": "25000 100000",
        "pids.max": "7",
        "cgroup.procs": "1234",
    }


def test_version_two_is_read_in_its_own_words(tmp_path: Path) -> None:
    group = Group(2, dict.fromkeys(("memory", "cpu", "pids"), tmp_path))
    assert (group.peak_bytes(), group.oom_kills(), group.pids()) == (None, 0, [])
    (tmp_path / "memory.peak").write_text("4096\n")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n")
    (tmp_path / "cgroup.procs").write_text("12\n34\n")
    assert (group.peak_bytes(), group.oom_kills(), group.pids()) == (4096, 1, [12, 34])


def test_a_host_without_writable_groups_has_no_tree(tmp_path: Path) -> None:
    proc = tmp_path / "proc" / "self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text("0::/user.slice\n")
    (tmp_path / "file").write_text("a file cannot hold folders")
    assert find_tree("agent", cgroup_root=tmp_path / "file", proc_root=tmp_path / "proc") is None


def test_docker_keeps_the_peak_where_its_driver_puts_it(tmp_path: Path) -> None:
    assert docker_peak_paths(tmp_path)[0] == f"{tmp_path}/memory/docker/{{id}}/memory.max_usage_in_bytes"
    (tmp_path / "cgroup.controllers").touch()
    assert docker_peak_paths(tmp_path) == (
        f"{tmp_path}/docker/{{id}}/memory.peak",
        f"{tmp_path}/system.slice/docker-{{id}}.scope/memory.peak",
    )
