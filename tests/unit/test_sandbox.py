"""Sandboxes on disk: what may be read from them, and when they go."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesolite.agent.containerizer.policy import User
from mesolite.agent.sandbox import (
    GC_DELAY_MS,
    MAX_READ_BYTES,
    SandboxError,
    all_sandboxes,
    browse,
    create_sandbox,
    disk_used,
    due_for_removal,
    gc_age_ms,
    read_file,
    remove_sandbox,
    resolve,
    sandbox_path,
)
from mesolite.ids import ContainerId, FrameworkId, TaskId


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A sandbox with a file of a hundred bytes, a folder, and links of all kinds; a secret lies beside it."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "sandbox"
    (root / "folder").mkdir(parents=True)
    (root / "stdout").write_bytes(bytes(range(100)))
    (root / "folder" / "inner").write_text("inner")
    (root / "out").symlink_to("../secret")
    (root / "far").symlink_to("/")
    (root / "within").symlink_to("folder/inner")
    (root / "loop").symlink_to("loop")
    return root


def path_of(work_dir: Path, task: str = "task") -> Path:
    return sandbox_path(work_dir, FrameworkId("framework"), TaskId(task), ContainerId("container"))


# -- layout ---------------------------------------------------------------------------------------------------------------


def test_a_sandbox_is_made_below_its_framework_and_task_and_found_again(tmp_path: Path) -> None:
    path = path_of(tmp_path)
    create_sandbox(path, User(os.geteuid(), os.getegid()))
    assert path == tmp_path / "sandboxes/framework/task/container"
    assert list(all_sandboxes(tmp_path)) == [path]


def test_making_a_sandbox_twice_keeps_what_is_in_it(tmp_path: Path) -> None:
    path, user = path_of(tmp_path), User(os.geteuid(), os.getegid())
    create_sandbox(path, user)
    (path / "stdout").write_text("kept")
    create_sandbox(path, user)
    assert (path / "stdout").read_text() == "kept"


def test_removing_a_sandbox_removes_empty_folders_above_and_no_others(tmp_path: Path) -> None:
    user = User(os.geteuid(), os.getegid())
    first, second = path_of(tmp_path, "first"), path_of(tmp_path, "second")
    create_sandbox(first, user)
    create_sandbox(second, user)
    remove_sandbox(first)
    assert list(all_sandboxes(tmp_path)) == [second]
    assert not first.parent.exists()
    remove_sandbox(second)
    assert list((tmp_path / "sandboxes").iterdir()) == []
    remove_sandbox(second)


def test_removing_a_sandbox_does_not_follow_its_links(sandbox: Path) -> None:
    remove_sandbox(sandbox)
    assert not sandbox.exists()
    assert (sandbox.parent / "secret").read_text() == "secret"


# -- reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", ["out", "far", "far/etc/passwd", "..", "../secret", "folder/../../secret"])
def test_nothing_outside_can_be_reached(sandbox: Path, relative: str) -> None:
    with pytest.raises(SandboxError, match="out of the sandbox"):
        resolve(sandbox, relative)
    with pytest.raises(SandboxError):
        read_file(sandbox, relative, offset=0)


@pytest.mark.parametrize("relative", ["none", "loop", "stdout/x", "a\0b", "x" * 5000])
def test_what_is_not_there_is_said_not_to_be(sandbox: Path, relative: str) -> None:
    with pytest.raises(SandboxError):
        resolve(sandbox, relative)


@pytest.mark.parametrize("relative", ["folder/inner", "/folder/inner", "within", "./folder/../folder/inner"])
def test_what_is_inside_is_found_however_it_is_written(sandbox: Path, relative: str) -> None:
    assert resolve(sandbox, relative) == sandbox / "folder" / "inner"


@pytest.mark.parametrize("relative", ["", "/", "."])
def test_the_root_has_three_names(sandbox: Path, relative: str) -> None:
    assert resolve(sandbox, relative) == sandbox


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 10, (bytes(range(10)), 0)),
        (90, 50, (bytes(range(90, 100)), 90)),
        (0, -1, (bytes(range(100)), 0)),
        (0, 0, (b"", 0)),
        (-1, -1, (b"", 100)),
        (-1, 10, (b"", 100)),
        (100, 10, (b"", 100)),
        (5000, 10, (b"", 5000)),
    ],
)
def test_parts_are_read_as_the_pager_of_mesos_expects(
    sandbox: Path, offset: int, length: int, expected: tuple[bytes, int]
) -> None:
    part = read_file(sandbox, "stdout", offset=offset, length=length)
    assert (part.data, part.offset) == expected
    assert part.inode == (sandbox / "stdout").stat().st_ino


@pytest.mark.parametrize(("offset", "length"), [(-2, 1), (0, -2)])
def test_other_negative_numbers_are_refused(sandbox: Path, offset: int, length: int) -> None:
    with pytest.raises(SandboxError, match="negative"):
        read_file(sandbox, "stdout", offset=offset, length=length)


def test_one_read_is_bounded(sandbox: Path) -> None:
    (sandbox / "large").write_bytes(bytes(MAX_READ_BYTES + 1))
    assert len(read_file(sandbox, "large", offset=0).data) == MAX_READ_BYTES
    assert len(read_file(sandbox, "large", offset=0, length=10**9).data) == MAX_READ_BYTES


def test_only_regular_files_are_read(sandbox: Path) -> None:
    os.mkfifo(sandbox / "fifo")
    with pytest.raises(SandboxError, match="regular"):
        read_file(sandbox, "fifo", offset=0)
    with pytest.raises(SandboxError, match="directory"):
        read_file(sandbox, "folder", offset=0)


def test_a_folder_is_listed_sorted_with_links_as_links(sandbox: Path) -> None:
    entries = browse(sandbox)
    assert [entry.path for entry in entries] == ["far", "folder", "loop", "out", "stdout", "within"]
    modes = {entry.path: entry.mode[0] for entry in entries}
    assert (modes["folder"], modes["stdout"], modes["out"]) == ("d", "-", "l")
    assert next(entry.size for entry in entries if entry.path == "stdout") == 100
    assert [entry.path for entry in browse(sandbox, "folder")] == ["folder/inner"]


@pytest.mark.parametrize("relative", ["stdout", "none", "far"])
def test_only_folders_inside_are_listed(sandbox: Path, relative: str) -> None:
    with pytest.raises(SandboxError):
        browse(sandbox, relative)


# -- collection -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("used", "part"), [(0.0, 0.9), (0.5, 0.4), (0.9, 0.0), (0.95, 0.0), (1.0, 0.0)])
def test_the_fuller_the_disk_the_younger_sandboxes_go(used: float, part: float) -> None:
    assert gc_age_ms(used) == pytest.approx(GC_DELAY_MS * part, abs=1)


@given(
    st.dictionaries(st.integers(0, 50), st.integers(0, 10**9), max_size=20),
    st.integers(10**9, 2 * 10**9),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_whatever_goes_on_an_emptier_disk_goes_on_a_fuller_one_too(
    ages: dict[int, int], now_ms: int, one: float, other: float
) -> None:
    ended = {Path(str(name)): when for name, when in ages.items()}
    emptier, fuller = sorted((one, other))
    less = due_for_removal(ended, now_ms=now_ms, disk_used=emptier)
    more = due_for_removal(ended, now_ms=now_ms, disk_used=fuller)
    assert set(less) <= set(more)
    assert [ended[path] for path in more] == sorted(ended[path] for path in more)


def test_the_age_counts_from_the_end() -> None:
    ended = {Path("old"): 0, Path("new"): 500}
    assert due_for_removal(ended, now_ms=1000, disk_used=0.0, gc_delay_ms=1000, headroom=0.1) == [Path("old")]


def test_the_disk_says_how_full_it_is(tmp_path: Path) -> None:
    assert 0.0 <= disk_used(tmp_path) <= 1.0
