"""What an agent finds at home: its machine's resources, its directory, its disk."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mesolite.agent.checkpoint import SqliteCheckpoint
from mesolite.agent.detect import attributes_of, offered, resources_of
from mesolite.agent.disk import DiskWatch
from mesolite.agent.workdir import MAX_SLOTS, WorkDir, open_work_dir
from mesolite.errors import ConfigError
from mesolite.ids import ContainerId
from mesolite.protocol import Attribute
from mesolite.resources import Resources


@pytest.mark.parametrize(
    ("mem_mib", "disk_mib", "expression"),
    [
        (16_384, 100_000, "cpus:2;mem:15360;disk:94880;ports:[31000-32000]"),
        (2048, 10_240, "cpus:2;mem:1024;disk:5120;ports:[31000-32000]"),
        (2047, 10_239, "cpus:2;mem:1023;disk:5119;ports:[31000-32000]"),
        (512, 100, "cpus:2;mem:256;disk:50;ports:[31000-32000]"),
    ],
)
def test_something_is_left_for_the_system(mem_mib: int, disk_mib: int, expression: str) -> None:
    assert offered(2, mem_mib, disk_mib) == expression


def test_this_machine_has_something_to_offer(tmp_path: Path) -> None:
    names = {resource.name for resource in resources_of(None, tmp_path)}
    assert names == {"cpus", "mem", "disk", "ports"}


def test_what_the_operator_says_is_all_there_is(tmp_path: Path) -> None:
    assert Resources.of(resources_of("cpus:1;mem:512", tmp_path)) == Resources.parse("cpus:1;mem:512")


@pytest.mark.parametrize("text", ["", "cpus", "cpus:x", "cpus:-1", ";"])
def test_resources_that_mean_nothing_are_a_setting_to_correct(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="resources"):
        resources_of(text, tmp_path)


def test_attributes() -> None:
    assert attributes_of(None) == ()
    assert attributes_of(" rack : a1 ;time:12:30; ") == (Attribute("rack", "a1"), Attribute("time", "12:30"))


@pytest.mark.parametrize("text", ["rack", "rack:", ":a1"])
def test_half_an_attribute_is_a_setting_to_correct(text: str) -> None:
    with pytest.raises(ConfigError, match="rack:a1"):
        attributes_of(text)


# -- the directory


def test_one_agent_per_directory(tmp_path: Path) -> None:
    first = WorkDir(tmp_path / "work")
    with pytest.raises(ConfigError, match="another agent"):
        WorkDir(tmp_path / "work")
    first.close()
    WorkDir(tmp_path / "work").close()


def test_a_directory_that_cannot_be_made_is_a_setting_to_correct(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        WorkDir(tmp_path / "file" / "work")


def test_an_id_is_chosen_once_and_kept(tmp_path: Path) -> None:
    work_dir = WorkDir(tmp_path)
    chosen = work_dir.identify(None, "host")
    assert chosen.startswith("host-")
    assert work_dir.identify(None, "renamed") == chosen
    assert work_dir.identify(chosen, "host") == chosen
    work_dir.close()


def test_a_directory_belongs_to_one_agent(tmp_path: Path) -> None:
    work_dir = WorkDir(tmp_path)
    work_dir.identify("a", "host")
    with pytest.raises(ConfigError, match="belongs to agent 'a'"):
        work_dir.identify("b", "host")
    with pytest.raises(ConfigError, match="slash"):
        work_dir.identify("../b", "host")
    work_dir.close()


def test_what_tasks_run_in_is_kept_beside_the_id(tmp_path: Path) -> None:
    work_dir = WorkDir(tmp_path)
    assert work_dir.stored_containerizer() == ""
    work_dir.keep_containerizer("docker")
    assert work_dir.stored_containerizer() == "docker"
    work_dir.close()


def test_a_retired_id_is_never_used_again(tmp_path: Path) -> None:
    work_dir = WorkDir(tmp_path)
    work_dir.retire(work_dir.identify("a", "host"))
    assert work_dir.stored_id() is None
    with pytest.raises(ConfigError, match="retired"):
        work_dir.identify("a", "host")
    assert work_dir.identify(None, "host") != "a"
    work_dir.close()


def test_agents_that_share_a_pattern_take_the_lowest_free_slots(tmp_path: Path) -> None:
    """A slot that becomes free goes to the next who comes, and with it the id of the agent that had it."""
    pattern = str(tmp_path / "agents" / "{slot}")
    first, second, third = (open_work_dir(pattern) for _ in range(3))
    assert [each.path.name for each in (first, second, third)] == ["1", "2", "3"]
    second_id = second.identify(None, "host")
    second.close()
    heir = open_work_dir(pattern)
    assert heir.path.name == "2"
    assert heir.identify(None, "another-host") == second_id
    for held in (first, heir, third):
        held.close()


def test_agents_that_start_together_never_share_a_slot(tmp_path: Path) -> None:
    """Goal: as many slots as agents. Method: a lock is the open file's, so threads compete as processes would."""
    pattern = str(tmp_path / "{slot}")
    together = threading.Barrier(16)

    def start() -> WorkDir:
        together.wait()
        return open_work_dir(pattern)

    with ThreadPoolExecutor(16) as pool:
        held = [started.result() for started in [pool.submit(start) for _ in range(16)]]
    assert sorted(int(each.path.name) for each in held) == list(range(1, 17))
    for each in held:
        each.close()


def test_slots_are_bounded(tmp_path: Path) -> None:
    held = [open_work_dir(str(tmp_path / "{slot}")) for _ in range(MAX_SLOTS)]
    with pytest.raises(ConfigError, match="all 64 slots"):
        open_work_dir(str(tmp_path / "{slot}"))
    for each in held:
        each.close()


def test_a_slot_that_cannot_be_used_is_not_skipped(tmp_path: Path) -> None:
    """Its agent would lose its tasks without anybody noticing."""
    (tmp_path / "1").write_text("not a directory")
    with pytest.raises(ConfigError, match="cannot be used"):
        open_work_dir(str(tmp_path / "{slot}"))


# -- the disk


def test_the_disk_is_looked_at_now_and_then_and_at_once_when_a_checkpoint_found_it_full(tmp_path: Path) -> None:
    checkpoint = SqliteCheckpoint(tmp_path / "c")
    watch = DiskWatch(tmp_path, checkpoint, interval_ms=1000)
    assert watch.watch(5000, ()) is None, "there is room, as was believed"
    assert watch.deadline_ms == 6000
    checkpoint.short_of_space = True
    # There is room for the reserve, so the shortage is over as soon as it is looked at.
    assert watch.watch(5001, ()) is None
    assert not checkpoint.short_of_space
    checkpoint.close()


def test_a_disk_with_too_little_room_says_so_until_it_has_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = SqliteCheckpoint(tmp_path / "c")
    watch = DiskWatch(tmp_path, checkpoint, interval_ms=1000)
    monkeypatch.setattr("mesolite.agent.disk.MIN_FREE_DISK_MIB", 10**12)
    monkeypatch.setattr("mesolite.agent.disk.RESUME_FREE_DISK_MIB", 10**12)
    assert "disk is full" in (watch.watch(0, ()) or "")
    assert watch.watch(1000, ()) is None, "that is no news"
    monkeypatch.setattr("mesolite.agent.disk.RESUME_FREE_DISK_MIB", 0)
    assert watch.watch(2000, ()) == ""
    checkpoint.close()


def test_old_sandboxes_are_collected_but_not_those_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> float:
        return 1.0

    monkeypatch.setattr("mesolite.agent.disk.disk_used", full)
    checkpoint = SqliteCheckpoint(tmp_path / "c")
    old, live = (tmp_path / "sandboxes" / "f" / "t" / name for name in ("old", "live"))
    for sandbox in (old, live):
        sandbox.mkdir(parents=True)
        (sandbox / "stdout").write_text("")
        for path in (sandbox / "stdout", sandbox):
            os.utime(path, (1000, 1000))
    young = tmp_path / "sandboxes" / "f" / "t" / "young"
    young.mkdir()
    DiskWatch(tmp_path, checkpoint).collect({ContainerId(live.name)})
    assert [old.exists(), live.exists(), young.exists()] == [False, True, True]
    checkpoint.close()


def test_sockets_of_executors_that_ended_unseen_are_collected_and_whatever_else_is_to_be(tmp_path: Path) -> None:
    checkpoint = SqliteCheckpoint(tmp_path / "c")
    old, live, young = (tmp_path / "sockets" / name for name in ("old", "live", "young"))
    for directory in (old, live, young):
        directory.mkdir(parents=True)
        (directory / "agent.sock").touch()
    for directory in (old, live):
        os.utime(directory, (1000, 1000))
    tidied: list[bool] = []
    DiskWatch(tmp_path, checkpoint, tidy=lambda: tidied.append(True)).collect({ContainerId("live")})
    assert [old.exists(), live.exists(), young.exists()] == [False, True, True]
    assert tidied == [True]
    checkpoint.close()
