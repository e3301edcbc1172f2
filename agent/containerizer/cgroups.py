"""Linux control groups, versions 1 and 2: making them, and reading what a group used.

Version 1 has a tree for each controller, version 2 one for all (kernel documentation, `cgroup-v1/memory.rst` and
`cgroup-v2.rst`). A `Group` hides the difference. Groups live below `mesolite/AGENT` of the tree, so that an agent finds
its own again and an operator sees whose they are.
"""

import contextlib
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PERIOD_US: Final = 100_000
_CONTROLLERS: Final = ("memory", "cpu", "pids")
_MEBIBYTE: Final = 1024 * 1024
CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
PROC_ROOT: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a group may use."""

    cpus_milli: int
    #: Swap included.
    mem_mib: int
    pids: int


@dataclass(frozen=True, slots=True)
class Group:
    """One container's control group: a directory in each controller's tree (version 1), or one (version 2)."""

    version: int
    #: Controller to directory; with version 2 all are the same one.
    directories: Mapping[str, Path]

    def create(self, limits: Limits) -> None:
        """Make it, with its limits; one that is there gets the new limits.

        Raises:
            OSError: The agent may not, or the kernel refuses a number.
        """
        for directory in set(self.directories.values()):
            directory.mkdir(parents=True, exist_ok=True)
        memory, cpu = self.directories["memory"], self.directories["cpu"]
        memory_bytes = limits.mem_mib * _MEBIBYTE
        quota_us = limits.cpus_milli * _PERIOD_US // 1000
        (self.directories["pids"] / "pids.max").write_text(str(limits.pids))
        if self.version == 2:
            (memory / "memory.max").write_text(str(memory_bytes))
            _write_if_there(memory / "memory.swap.max", "0")
            (cpu / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
            return
        (memory / "memory.limit_in_bytes").write_text(str(memory_bytes))
        _write_if_there(memory / "memory.memsw.limit_in_bytes", str(memory_bytes))
        (cpu / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (cpu / "cpu.cfs_quota_us").write_text(str(quota_us))

    def resize(self, cpus_milli: int, mem_mib: int) -> None:
        """Give it other limits while processes are in it. CPU first, which nothing stands against.

        Raises:
            OSError: More memory is in use than it is to have (EBUSY, as version 1 says it); it keeps the limit that it had.
        """
        memory, cpu = self.directories["memory"], self.directories["cpu"]
        quota_us = cpus_milli * _PERIOD_US // 1000
        limit_bytes = mem_mib * _MEBIBYTE
        if self.version == 2:
            (cpu / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
            # Version 2 does not refuse: it kills until the rest fits.
            if kept_bytes(memory) > limit_bytes:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            (memory / "memory.max").write_text(str(limit_bytes))
            return
        (cpu / "cpu.cfs_quota_us").write_text(str(quota_us))
        _resize_memory_v1(memory, limit_bytes)

    def enter(self, pid: int) -> None:
        """Move a process into it; what it starts from then on is in it too."""
        for directory in set(self.directories.values()):
            (directory / "cgroup.procs").write_text(str(pid))

    def pids(self) -> list[int]:
        """All processes in it."""
        with contextlib.suppress(OSError):
            return [int(line) for line in (self.directories["memory"] / "cgroup.procs").read_text().split()]
        return []

    def peak_bytes(self) -> int | None:
        """The most memory it ever used; None where the kernel does not say (version 2 before 5.19)."""
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        with contextlib.suppress(OSError, ValueError):
            return int((self.directories["memory"] / name).read_text())
        return None

    def oom_kills(self) -> int:
        """How many of its processes were killed for memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        with contextlib.suppress(OSError, ValueError):
            for line in (self.directories["memory"] / name).read_text().splitlines():
                key, _, count = line.partition(" ")
                if key == "oom_kill":
                    return int(count)
        return 0

    def remove(self) -> bool:
        """Remove the empty group; False where the kernel says it is still busy."""
        done = True
        for directory in set(self.directories.values()):
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                done = False
        return done


@dataclass(frozen=True, slots=True)
class GroupTree:
    """Where an agent's groups are made."""

    version: int
    bases: Mapping[str, Path]

    def group(self, name: str) -> Group:
        """The group of a container; nothing is made yet."""
        return Group(self.version, {controller: base / name for controller, base in self.bases.items()})

    def remove(self) -> None:
        """Remove what holds the groups; while there are any the kernel refuses, rightly."""
        Group(self.version, self.bases).remove()


def find_tree(agent: str, *, cgroup_root: Path = CGROUP_ROOT, proc_root: Path = PROC_ROOT) -> GroupTree | None:
    """The tree in which this process may make groups with memory, CPU and process limits; None where it may not.

    Tries below the process's own group first (what a supervisor delegated), then the top. A version 2 group that holds
    processes cannot have limited children, so below the own group it works there only for a version 1 tree or the root.
    """
    own = _own_groups(proc_root)
    unified = (cgroup_root / "cgroup.controllers").exists()
    candidates: list[GroupTree] = []
    for own_path in ("own", "top"):
        bases: dict[str, Path] = {}
        for controller in _CONTROLLERS:
            top = cgroup_root if unified else cgroup_root / controller
            below = own.get("" if unified else controller, "/") if own_path == "own" else "/"
            bases[controller] = top / below.lstrip("/") / "mesolite" / agent
        candidates.append(GroupTree(2 if unified else 1, bases))
    for tree in candidates:
        if _usable(tree):
            return tree
    return None


def _usable(tree: GroupTree) -> bool:
    probe = tree.group(f"probe-{os.getpid()}")
    try:
        if tree.version == 2:
            base = tree.bases["memory"]
            base.mkdir(parents=True, exist_ok=True)
            for directory in (base.parent.parent, base.parent, base):
                (directory / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _CONTROLLERS))
        probe.create(Limits(cpus_milli=1000, mem_mib=64, pids=16))
    except OSError:
        return False
    finally:
        probe.remove()
    return True


def _own_groups(proc_root: Path) -> dict[str, str]:
    """Controller ("" for version 2) to the path of the group that this process is in."""
    own: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in (proc_root / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                own[controller] = path
    return own


def _resize_memory_v1(memory: Path, limit_bytes: int) -> None:
    """Set both limits of version 1, of which that without swap may at no moment be the larger (`cgroup-v1/memory.rst`, 2.4)."""
    limit, with_swap = memory / "memory.limit_in_bytes", memory / "memory.memsw.limit_in_bytes"
    old_bytes = int(limit.read_text())
    if limit_bytes >= old_bytes:
        _write_if_there(with_swap, str(limit_bytes))
        limit.write_text(str(limit_bytes))
        return
    limit.write_text(str(limit_bytes))
    try:
        _write_if_there(with_swap, str(limit_bytes))
    except OSError:
        limit.write_text(str(old_bytes))
        raise


def kept_bytes(memory: Path) -> int:
    """How much of a version 2 group's memory the kernel cannot simply take back: all but what files on disk hold too.

    0 where it does not say, so that the kernel decides.
    """
    with contextlib.suppress(OSError, ValueError):
        counts = dict(line.split() for line in (memory / "memory.stat").read_text().splitlines())
        return (
            int((memory / "memory.current").read_text())
            - int(counts.get("inactive_file", 0))
            - int(counts.get("active_file", 0))
        )
    return 0


def _write_if_there(path: Path, text: str) -> None:
    """Swap accounting may be off in the kernel; then memory alone is limited, and there is no file to say so."""
    if path.exists():
        path.write_text(text)


def docker_groups(cgroup_root: Path = CGROUP_ROOT) -> tuple[str, ...]:
    """Patterns, with `{id}`, of a Docker container's memory group, where the kernel has version 2; none with version 1."""
    if not (cgroup_root / "cgroup.controllers").exists():
        return ()
    return (f"{cgroup_root}/docker/{{id}}", f"{cgroup_root}/system.slice/docker-{{id}}.scope")


def docker_peak_paths(cgroup_root: Path = CGROUP_ROOT) -> tuple[str, ...]:
    """Patterns, with `{id}`, of the file in which the kernel keeps a Docker container's peak memory, likeliest first.

    Two versions of control groups, and two drivers of Docker (`cgroupfs`, `systemd`), give four places.
    """
    if (cgroup_root / "cgroup.controllers").exists():
        top, file = cgroup_root, "memory.peak"
    else:
        top, file = cgroup_root / "memory", "memory.max_usage_in_bytes"
    return (f"{top}/docker/{{id}}/{file}", f"{top}/system.slice/docker-{{id}}.scope/{file}")
