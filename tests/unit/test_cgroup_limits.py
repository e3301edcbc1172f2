"""New limits for a control group, of both versions, in a tree of plain files: what is written, and what is not."""

import errno
from pathlib import Path

import pytest

from mesolite.agent.containerizer.cgroups import Group, Limits, kept_bytes

MIB = 1024 * 1024
V1_LIMIT, V1_WITH_SWAP = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"


def made(tmp_path: Path, version: int) -> Group:
    """A group of 64 MiB and half a CPU."""
    group = Group(version, dict.fromkeys(("memory", "cpu", "pids"), tmp_path))
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / (V1_WITH_SWAP if version == 1 else "memory.swap.max")).touch()
    group.create(Limits(cpus_milli=500, mem_mib=64, pids=16))
    return group


def number(path: Path) -> int:
    return int(path.read_text())


@pytest.mark.parametrize("mem_mib", [32, 64, 128])
def test_version_1_keeps_both_memory_limits_equal(tmp_path: Path, mem_mib: int) -> None:
    made(tmp_path, 1).resize(1500, mem_mib)
    assert number(tmp_path / V1_LIMIT) == number(tmp_path / V1_WITH_SWAP) == mem_mib * MIB
    assert number(tmp_path / "cpu.cfs_quota_us") == 150_000


@pytest.mark.parametrize(("mem_mib", "first"), [(128, V1_WITH_SWAP), (32, V1_LIMIT)])
def test_version_1_at_no_moment_allows_more_memory_than_memory_with_swap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mem_mib: int, first: str
) -> None:
    """The kernel refuses that (EINVAL), so that growing and shrinking go the other way round."""
    group = made(tmp_path, 1)
    order: list[str] = []
    write = Path.write_text

    def noted(path: Path, text: str) -> int:
        order.append(path.name)
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", noted)
    group.resize(500, mem_mib)
    assert next(name for name in order if name.startswith("memory")) == first


def test_version_1_without_accounting_of_swap_has_one_limit(tmp_path: Path) -> None:
    group = made(tmp_path, 1)
    (tmp_path / V1_WITH_SWAP).unlink()
    group.resize(500, 32)
    assert number(tmp_path / V1_LIMIT) == 32 * MIB


def test_where_memory_with_swap_cannot_shrink_the_limit_without_is_as_it_was(tmp_path: Path) -> None:
    group = made(tmp_path, 1)
    (tmp_path / V1_WITH_SWAP).unlink()
    # A directory refuses to be written, as the kernel does with more in use.
    (tmp_path / V1_WITH_SWAP).mkdir()
    with pytest.raises(OSError, match="directory"):
        group.resize(250, 32)
    assert number(tmp_path / V1_LIMIT) == 64 * MIB
    assert number(tmp_path / "cpu.cfs_quota_us") == 25_000, "nothing stands against a new share of CPU"


def use_v2(tmp_path: Path, *, current_mib: int, file_mib: int) -> None:
    (tmp_path / "memory.current").write_text(str(current_mib * MIB))
    (tmp_path / "memory.stat").write_text(
        f"anon 1\nactive_file {file_mib * MIB // 2}\ninactive_file {file_mib * MIB // 2}\n"
    )


def test_version_2_is_never_told_less_than_is_in_use_because_it_would_kill_for_it(tmp_path: Path) -> None:
    group = made(tmp_path, 2)
    use_v2(tmp_path, current_mib=48, file_mib=0)
    with pytest.raises(OSError) as caught:
        group.resize(250, 32)
    assert caught.value.errno == errno.EBUSY
    assert number(tmp_path / "memory.max") == 64 * MIB
    assert (tmp_path / "cpu.max").read_text() == "25000 100000"


def test_version_2_gives_back_what_files_hold(tmp_path: Path) -> None:
    group = made(tmp_path, 2)
    use_v2(tmp_path, current_mib=60, file_mib=40)
    assert kept_bytes(tmp_path) == 20 * MIB
    group.resize(250, 32)
    assert number(tmp_path / "memory.max") == 32 * MIB


@pytest.mark.parametrize("stat", ["", "nonsense", "active_file x"])
def test_where_version_2_does_not_say_what_is_in_use_the_kernel_decides(tmp_path: Path, stat: str) -> None:
    group = made(tmp_path, 2)
    (tmp_path / "memory.stat").write_text(stat)
    group.resize(250, 32)
    assert number(tmp_path / "memory.max") == 32 * MIB
