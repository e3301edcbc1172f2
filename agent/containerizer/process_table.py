"""The host's processes, as far as they belong to containers: for hosts where control groups may not be written.

A process belongs to a container if it is in the container's session, or was started with the container's name in its
environment: a child that makes a session of its own still has that. Only one that also clears its environment escapes.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: The variable whose value marks all processes of a container.
MARK_VARIABLE: Final = "MESOS_CONTAINER_NAME"
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
#: Fields of /proc/PID/stat, counted after the name in brackets (proc(5): state is field 3).
_STATE, _PARENT, _SESSION, _START, _RSS = 0, 1, 3, 19, 21


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One line of /proc."""

    pid: int
    session: int
    #: Clock ticks since boot: with the pid, it names a process for ever.
    start_ticks: int
    rss_bytes: int
    is_zombie: bool


def read_process(pid: int, proc_root: Path = Path("/proc")) -> ProcessStat | None:
    """What the kernel says of a process; None where there is none."""
    try:
        text = (proc_root / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name may contain anything, brackets and blanks too: it ends at the last bracket.
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessStat(
        pid=pid,
        session=int(fields[_SESSION]),
        start_ticks=int(fields[_START]),
        rss_bytes=int(fields[_RSS]) * _PAGE_BYTES,
        is_zombie=fields[_STATE] in ("Z", "X"),
    )


def parent_of(pid: int, proc_root: Path = Path("/proc")) -> int | None:
    """The parent of a process; None where there is no such process."""
    try:
        text = (proc_root / str(pid) / "stat").read_text()
    except OSError:
        return None
    return int(text[text.rindex(")") + 2 :].split()[_PARENT])


class ProcessTable:
    """Sorts processes by container. Not thread-safe."""

    def __init__(self, proc_root: Path = Path("/proc")) -> None:
        self._proc_root = proc_root
        #: (pid, start) to its mark, None without: a process's environment is read once.
        self._marks: dict[tuple[int, int], str | None] = {}

    def members(self, sessions: Mapping[str, int]) -> dict[str, list[ProcessStat]]:
        """The living processes of containers.

        Args:
            sessions: Mark of each container to its session's number.

        Returns:
            A list for each mark.
        """
        found: dict[str, list[ProcessStat]] = {mark: [] for mark in sessions}
        by_session = {session: mark for mark, session in sessions.items()}
        marks: dict[tuple[int, int], str | None] = {}
        for entry in self._proc_root.iterdir():
            if not entry.name.isdigit():
                continue
            process = read_process(int(entry.name), self._proc_root)
            if process is None or process.is_zombie:
                continue
            key = (process.pid, process.start_ticks)
            marks[key] = self._marks[key] if key in self._marks else self._read_mark(entry)
            mark = by_session.get(process.session) or marks[key]
            if mark in found:
                found[mark].append(process)
        self._marks = marks
        return found

    def _read_mark(self, entry: Path) -> str | None:
        prefix = f"{MARK_VARIABLE}=".encode()
        with contextlib.suppress(OSError):
            for variable in (entry / "environ").read_bytes().split(b"\0"):
                if variable.startswith(prefix):
                    return os.fsdecode(variable[len(prefix) :])
        return None
