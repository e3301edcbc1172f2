"""What processes and the container use of memory, as the kernel tells it. Whatever cannot be read is 0."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_CGROUPS: Final = Path("/sys/fs/cgroup")
#: Larger limits are none: version 1 says 2^63 less a page.
_UNLIMITED_BYTES: Final = 1 << 60


def resident_bytes(pid: int) -> int:
    """Resident memory of a process: what it shares with its zygote included, a few MiB."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    return 0


def peak_bytes(pid: int) -> int:
    """The most resident memory that a process ever had."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def oom_kills() -> int:
    """How many processes of this container the kernel has killed for memory."""
    return next(_numbers(("memory.events", "memory.oom_control"), b"oom_kill"), 0)


def container_limit_bytes() -> int:
    """What this container may use; 0: no limit that we can see."""
    for path in _files(("memory.max", "memory.limit_in_bytes")):
        with contextlib.suppress(OSError, ValueError):
            limit = int(path.read_text(encoding="ascii"))
            return limit if limit < _UNLIMITED_BYTES else 0
    return 0


def _numbers(names: tuple[str, str], key: bytes) -> Iterator[int]:
    for path in _files(names):
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_bytes().splitlines():
                found, _, number = line.partition(b" ")
                if found == key:
                    yield int(number)


def _files(names: tuple[str, str]) -> Iterator[Path]:
    """Where this process's group may be seen: by its path, or at the top where the container sees only its own."""
    unified, memory = "", ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                unified = path.strip("/")
            elif "memory" in controllers.split(","):
                memory = path.strip("/")
    for directory in (_CGROUPS / unified, _CGROUPS):
        yield directory / names[0]
    for directory in (_CGROUPS / "memory" / memory, _CGROUPS / "memory"):
        yield directory / names[1]
