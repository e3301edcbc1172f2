"""The zygote: a small process without threads that forks workers, and tells main how each one ended.

Forked from main before anything of a user was there, so that every worker starts from the same clean state, a few milliseconds
after it is asked for. It imports cloudpickle, which every worker needs, and nothing of users, or, where the executor was told to,
all that workers are to begin with (preload.py). It is the workers' parent: only it can signal one without the danger of meeting
another process with the same number. When main goes, however that happens, its end of the socket closes, and the zygote ends all
workers and itself; when the zygote goes, the kernel ends the workers.

    main -> zygote      START number limits (two descriptors)   |   KILL number
    zygote -> main      STARTED number pid               |   ENDED number pid status peak_kib
"""

import array
import contextlib
import gc
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from .endings import NOT_FORKED
from .limits import Limits, WorkerSettings
from .preload import Hooks, preload, wanted

START: Final = 1
KILL: Final = 2
STARTED: Final = 3
ENDED: Final = 4
#: From main: what, number of the worker, its limits.
ORDER: Final = struct.Struct("<BIQQ")
#: From the zygote: what, number of the worker, pid, status as of wait(2), most resident memory in KiB.
NOTE: Final = struct.Struct("<BIIiQ")
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_DESCRIPTOR_SIZE: Final = array.array("i").itemsize
_EXIT_ORPHAN: Final = 117


@dataclass(frozen=True, slots=True)
class Zygote:
    """Main's end of a zygote."""

    pid: int
    socket: socket.socket


def fork_zygote(sandbox: Path, *, preloads: bool = True) -> Zygote:
    """Fork one from this process, which must have one thread and nothing of users.

    Args:
        sandbox: Where workers are to be.
        preloads: Load what the environment asks for, if it does.

    Raises:
        OSError: No process or no sockets are to be had.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        its.close()
        ours.setblocking(False)
        return Zygote(pid, ours)
    try:
        _close_all_but(its.fileno())
        serve(its, sandbox, preloads=preloads)
    finally:
        # A copy of main, which must not go on as main whatever happened.
        os._exit(0)


def _close_all_but(kept: int) -> None:
    """Close what belongs to main; stdin, stdout and stderr are ours too."""
    limit = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, kept)
    os.closerange(kept + 1, limit if limit > 0 else 1 << 20)


def serve(main: socket.socket, sandbox: Path, *, preloads: bool = True) -> None:
    """Be a zygote until main hangs up. As `fork_zygote`."""
    _Forker(main, sandbox, preloads=preloads and bool(wanted())).run()


class _Forker:
    """The process."""

    def __init__(self, main: socket.socket, sandbox: Path, *, preloads: bool) -> None:
        self._main: Final = main
        self._preloads: Final = preloads
        self._sandbox: Final = sandbox
        #: Workers that were not reaped: their pids by their numbers.
        self._pids: Final[dict[int, int]] = {}
        # Not at the top: main, which imports this too, never needs it.
        import ctypes

        self._libc: Final = ctypes.CDLL(None, use_errno=True)
        #: `worker.run`.
        self._run: Callable[[WorkerSettings, socket.socket, socket.socket, Hooks | None], NoReturn]
        self._hooks: Hooks | None = None
        self._wake_from, self._wake_to = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Serve main until it hangs up; then end all workers."""
        _ignore_ends()
        self._load()
        # Once more, and only now: what was loaded may have seen to signals itself, and waited for programs that it ran.
        _ignore_ends()
        signal.set_wakeup_fd(self._wake_to, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _noted)
        # What escapes from a worker's session by a second fork becomes our child, to be reaped.
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # Collections would write into every object's head, and so copy every page in every worker.
        gc.freeze()
        poll = select.poll()
        poll.register(self._main, select.POLLIN)
        poll.register(self._wake_from, select.POLLIN)
        while True:
            for fd, _event in poll.poll():
                if fd == self._wake_from:
                    self._reap()
                elif not self._hear():
                    self._end_all()
                    return

    def _load(self) -> None:
        # Imported here and not above: main, which goes on meanwhile, needs none of it.
        from .worker import run

        self._run = run
        if self._preloads:
            # It takes its time, in which main is not heard: also not that it is gone.
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            self._hooks = preload()
            self._libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
        else:
            with contextlib.suppress(ImportError):
                __import__("cloudpickle")

    def _hear(self) -> bool:
        try:
            data, ancillary, _flags, _address = self._main.recvmsg(ORDER.size, socket.CMSG_SPACE(2 * _DESCRIPTOR_SIZE))
        except OSError:
            return False
        if not data:
            return False
        what, number, *limits = ORDER.unpack(data)
        if what == KILL:
            self._kill(number)
            return True
        descriptors = array.array("i")
        for _level, _kind, payload in ancillary:
            descriptors.frombytes(payload[: len(payload) - len(payload) % _DESCRIPTOR_SIZE])
        self._start(WorkerSettings(number=number, sandbox=self._sandbox, limits=Limits(*limits)), list(descriptors))
        return True

    def _start(self, settings: WorkerSettings, descriptors: list[int]) -> None:
        parent, number = os.getpid(), settings.number
        try:
            pid = os.fork()
        except OSError:
            self._say(ENDED, number, status=NOT_FORKED)
            pid = -1
        if pid == 0:
            try:
                self._be_worker(settings, descriptors, parent)
            finally:
                os._exit(_EXIT_ORPHAN)
        for fd in descriptors:
            os.close(fd)
        if pid > 0:
            self._pids[number] = pid
            self._say(STARTED, number, pid)

    def _be_worker(self, settings: WorkerSettings, descriptors: list[int], parent: int) -> NoReturn:
        os.setsid()
        self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(_EXIT_ORPHAN)  # it died before the kernel knew what to do then
        signal.set_wakeup_fd(-1)
        for each in (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._main.close()
        os.close(self._wake_from)
        os.close(self._wake_to)
        calls, answers = (socket.socket(fileno=fd) for fd in descriptors)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        if nothing:
            os.close(nothing)
        self._run(settings, calls, answers, self._hooks)

    def _kill(self, number: int) -> None:
        pid = self._pids.get(number)
        if pid is None:
            return  # it has ended; main will hear, or has heard
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_from, 4096)
        numbers = {pid: number for number, pid in self._pids.items()}
        with contextlib.suppress(ChildProcessError):
            while True:
                # It is looked at first and reaped last: until then its number is its own, and so is the number of its session.
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None:
                    break
                number = numbers.get(ended.si_pid)
                if number is not None:
                    _end_session(ended.si_pid)
                pid, status, usage = os.wait4(ended.si_pid, 0)
                if number is not None:
                    del self._pids[number]
                    self._say(ENDED, number, pid, status, usage.ru_maxrss)

    def _say(self, what: int, number: int, pid: int = 0, status: int = 0, peak_kib: int = 0) -> None:
        with contextlib.suppress(OSError):  # main is gone: the next turn sees it
            self._main.send(NOTE.pack(what, number, pid, status, peak_kib))

    def _end_all(self) -> None:
        for pid in self._pids.values():
            _end_session(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in self._pids.values():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _ignore_ends() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # main decides when we go


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: that a handler is there makes the signal write to the wake-up pipe."""


def _end_session(leader: int) -> None:
    """End what a worker leaves: processes of its group, and of its session in groups of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and session_of(int(entry.name)) == leader and int(entry.name) != leader:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry.name), signal.SIGKILL)


def session_of(pid: int) -> int | None:
    """The session of a process; None where it is gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return None
