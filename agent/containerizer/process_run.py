"""One container as a plain process: started under a small shell that outlives the agent and keeps the exit code.

    agent --- sh (session leader, as the task's user) --- the task --- whatever it starts

The shell does three things: it waits until the agent has put it under its limits, runs the task in a child, and writes
the child's exit code into a file that the agent opened for it. It is not a supervisor: it has no state, and if it is
killed only the exit code is lost. POSIX sh, because it costs a millisecond and half a megabyte where Python costs
twenty and ten.

What an agent's next life needs stands in `WORK_DIR/containers/ID/`, which the task cannot write: a task that could
change the pid there could make a root agent kill what it likes.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from mesolite.errors import LaunchError
from mesolite.ids import ContainerId

from ..permissions import may_execute, may_reach
from .contract import ContainerSpec
from .policy import User, executor_environment
from .process_table import MARK_VARIABLE, read_process

#: `read` fails when the agent dies before it has said go: then nothing runs. The trap keeps the shell alive through
#: signals that are meant for the task; a trapped signal, unlike an ignored one, is back to its default in the child.
_SHIM: Final = """trap : HUP INT TERM
ulimit -c 0
read -r _ || exit 125
(exec "$@") </dev/null >>stdout 2>>stderr
echo $?
"""
_SHELL: Final = "/bin/sh"
DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOTES: Final = "process.json"
_EXIT: Final = "exit"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Notes(msgspec.Struct, frozen=True):
    """What is written down of a container when it starts."""

    container_id: ContainerId
    sandbox: str
    #: The limit, as it was set last.
    mem_mib: int
    user: tuple[int, int]
    boot_id: str
    pid: int
    start_ticks: int
    #: Controller to directory of its control group; empty where none could be made.
    group: dict[str, str] = {}
    group_version: int = 0
    ends_first_process: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """A shell that waits for its go."""

    pid: int
    start_ticks: int
    _go: int

    def go(self) -> None:
        """Let it run the task."""
        os.write(self._go, b"\n")
        os.close(self._go)

    def abort(self) -> None:
        """Let it end without having run anything."""
        os.close(self._go)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def boot_id() -> str:
    """Names the time since the host's last boot: pids mean nothing across it."""
    return _BOOT_ID.read_text().strip()


def environment_of(spec: ContainerSpec, user: User) -> dict[str, str]:
    """The task's own variables on top of PATH, LANG and where it is."""
    environment = {"PATH": os.environ.get("PATH", DEFAULT_PATH), "LANG": os.environ.get("LANG", "C.UTF-8")}
    if spec.bundle_dir is not None and may_use_own_python(user):
        # The same Python here as there: that of whoever installed Mesolite.
        environment["MESOLITE_PYTHON"] = sys.executable
    environment |= {"HOME": str(spec.sandbox), **spec.environment}
    environment |= {"MESOS_SANDBOX": str(spec.sandbox), "MESOS_DIRECTORY": str(spec.sandbox)}
    environment[MARK_VARIABLE] = mark_of(spec.container_id)
    environment |= executor_environment(
        spec,
        # A path to a socket has at most 107 bytes (unix(7)), which one from the root easily exceeds.
        sockets=os.path.relpath(spec.socket_dir.resolve(), spec.sandbox.resolve()) if spec.socket_dir else "",
        bundle=str(spec.bundle_dir.resolve()) if spec.bundle_dir else "",
    )
    return environment


def may_use_own_python(user: User) -> bool:
    """Whether a task's user can execute the Python that the agent runs on: by its name, and where links lead from that."""
    program = Path(sys.executable)
    real = program.resolve()
    return bool(sys.executable) and may_execute(program, user) and may_reach(program, user) and may_reach(real, user)


def mark_of(container_id: ContainerId) -> str:
    """The value that marks a container's processes."""
    return f"mesolite-{container_id}"


def find_executable(spec: ContainerSpec, environment: Mapping[str, str], user: User) -> str:
    """The file that will be executed.

    Raises:
        LaunchError: There is none, or the user may not execute it.
    """
    name = spec.argv[0]
    if "/" in name:
        candidates = [spec.sandbox / name]
    else:
        candidates = [Path(folder) / name for folder in environment.get("PATH", DEFAULT_PATH).split(":") if folder]
    for candidate in candidates:
        if may_execute(candidate, user):
            return str(candidate)
    if any(candidate.is_file() for candidate in candidates):
        raise LaunchError(f"{name!r} is not executable by user {user}")
    raise LaunchError(f"there is no executable {name!r} on the agent's host; install it there, or fetch it by URI")


def spawn(spec: ContainerSpec, user: User, notes_dir: Path) -> Waiting:
    """Start the shell, in a session of its own, as the task's user; it waits for `Waiting.go`.

    Raises:
        LaunchError: No such executable.
        OSError: The host refuses a process, or a file.
    """
    environment = environment_of(spec, user)
    executable = find_executable(spec, environment, user)
    switch = os.geteuid() == 0 and user.uid != 0
    exit_file = os.open(notes_dir / _EXIT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            [_SHELL, "-c", _SHIM, "mesolite", executable, *spec.argv[1:]],
            cwd=spec.sandbox,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=exit_file,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            user=user.uid if switch else None,
            group=user.gid if switch else None,
            extra_groups=[] if switch else None,
        )
    finally:
        os.close(exit_file)
    assert child.stdin is not None, "a pipe was asked for"
    go = os.dup(child.stdin.fileno())
    child.stdin.close()
    # The child is watched by a pidfd and reaped by `reap`, in this life of the agent or by init in none: the object must
    # not do either behind our back, nor warn that the child still runs.
    child.returncode = 0
    found = read_process(child.pid)
    assert found is not None, "an unreaped child has an entry in /proc"
    return Waiting(child.pid, found.start_ticks, go)


def reap(pid: int) -> None:
    """Take the shell's exit status from the kernel, where it is this process's child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def write_notes(notes_dir: Path, notes: Notes) -> None:
    """Write them whole or not at all."""
    draft = notes_dir / f"{_NOTES}.draft"
    draft.write_bytes(msgspec.json.encode(notes))
    draft.rename(notes_dir / _NOTES)


def read_notes(notes_dir: Path) -> Notes | None:
    """The notes of one container; None where there are none, or none that can be read."""
    try:
        return msgspec.json.decode((notes_dir / _NOTES).read_bytes(), type=Notes)
    except (OSError, msgspec.MsgspecError):
        return None


def keep_limit(notes_dir: Path, mem_mib: int) -> None:
    """Write down a new memory limit. Where the disk takes nothing, the next life of the agent knows the one before."""
    notes = read_notes(notes_dir)
    if notes is not None:
        with contextlib.suppress(OSError):
            write_notes(notes_dir, msgspec.structs.replace(notes, mem_mib=mem_mib))


def read_exit_code(notes_dir: Path) -> int | None:
    """What the shell wrote; None where it was killed first."""
    try:
        return int((notes_dir / _EXIT).read_text())
    except (OSError, ValueError):
        return None


def discard_notes(notes_dir: Path) -> None:
    """The container is over and reported."""
    shutil.rmtree(notes_dir, ignore_errors=True)


def still_runs(notes: Notes) -> bool:
    """Whether the shell of an earlier life of the agent is alive: the same boot, the same pid, the same start."""
    found = read_process(notes.pid)
    same = found is not None and found.start_ticks == notes.start_ticks and not found.is_zombie
    return same and notes.boot_id == boot_id()
