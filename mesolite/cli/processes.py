"""Detached processes: started so that they outlive the command, found again by pid, stopped without hitting anyone else.

A pid alone does not name a process: the kernel gives it out again. The time of its start, which the kernel keeps, makes it
certain (proc(5), field 22 of stat).
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mesolite.discovery import ProcessRecord

#: How long a process may take to end by itself before it is killed. A master and an agent need milliseconds.
STOP_GRACE_S: Final = 10.0
POLL_INTERVAL_S: Final = 0.05

#: Lines of a log that are shown when its process failed.
TAIL_LINES: Final = 15
TAIL_BYTES: Final = 8192


def start_process(name: str, argv: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> ProcessRecord:
    """Start a process of its own session, with its output in a file.

    Args:
        name: What it is to the cluster: "agent-1".
        argv: The command; its first word is an absolute path.
        log: The file; written on at its end.
        environment: All of its variables.

    Raises:
        OSError: The command cannot be executed.
    """
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # posix_spawn rather than Popen: nobody is going to wait for it, and it must not be tied to us.
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            dict(environment),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(output)
    return found_process(name, pid, log=log)


def found_process(name: str, pid: int, *, log: Path) -> ProcessRecord:
    """Return the record of a process that runs now."""
    return ProcessRecord(name=name, pid=pid, start_ticks=_start_ticks(pid) or 0, log=str(log))


def is_alive(record: ProcessRecord) -> bool:
    """Say whether this very process runs. One that ended and waits for its parent does not."""
    _reap(record.pid)
    return _start_ticks(record.pid) == record.start_ticks


def stop_process(record: ProcessRecord, *, grace_s: float = STOP_GRACE_S) -> bool:
    """End a process: SIGTERM, and SIGKILL after the grace. Says whether it ran at all."""
    if not is_alive(record):
        return False
    deadline_s = time.monotonic() + grace_s
    _signal(record.pid, signal.SIGTERM)
    while is_alive(record) and time.monotonic() < deadline_s:
        time.sleep(POLL_INTERVAL_S)
    if is_alive(record):
        _signal(record.pid, signal.SIGKILL)
        while is_alive(record):
            time.sleep(POLL_INTERVAL_S)
    return True


def log_tail(path: Path) -> str:
    """Return the last lines of a log, or a remark that there are none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
    except FileNotFoundError:
        lines = []
    return "\n".join(lines) or "(nothing was written)"


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    """Collect our own child if it ended; another's is not ours to wait for."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _start_ticks(pid: int) -> int | None:
    """Return when a process started, None where there is none or it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything; the fields after it are fixed.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])
