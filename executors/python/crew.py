"""The workers of one executor as main sees them: the zygote, and a link to each worker. It starts and ends them; others decide.

When the zygote goes, the kernel ends its workers: each is reported as ended, and a new zygote is forked from main, which has
still nothing of users in it.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..driver.loop import Loop
from .limits import Limits
from .memory import resident_bytes
from .worker_link import WorkerLink
from .zygote import KILL, NOTE, ORDER, START, STARTED, Zygote, fork_zygote

#: The status of a worker whose zygote went: killed, as the kernel does it then.
_KILLED: Final = int(signal.SIGKILL)
#: What a worker with something preloaded has for its end (`Hooks.end`): to close connections, and to say goodbye.
END_GRACE_MS: Final = 5_000
#: Zygotes in a row that ended before they said anything: what they were to load ends them. The next one loads nothing, and each
#: call meets it by itself.
MAX_SILENT_ZYGOTES: Final = 2


@dataclass(frozen=True, slots=True)
class CrewNews:
    """Whom to tell what. Called from the loop."""

    #: A worker's process runs.
    started: Callable[[int], None]
    #: A worker's process is over: its number, status as of wait(2) or `zygote.NOT_FORKED`, most resident memory in KiB (0:
    #: unknown).
    ended: Callable[[int, int, int], None]
    #: A worker's answers' socket can be read.
    answering: Callable[[int], None]


class Crew:
    """Starts and ends workers.

    Args:
        loop: The main loop.
        zygote: The first.
        sandbox: Where workers are.
        limits: Theirs.
        news: Whom to tell.
        preloads: The zygote loads something that wants to hear when a worker ends.
    """

    def __init__(
        self, loop: Loop, zygote: Zygote, sandbox: Path, limits: Limits, news: CrewNews, *, preloads: bool = False
    ) -> None:
        self._preloads: Final = preloads
        #: Workers that were asked to end.
        self._asked: Final[set[int]] = set()
        self._loop: Final = loop
        self._sandbox: Final = sandbox
        self._limits: Final = limits
        self._news: Final = news
        self._zygote = zygote
        #: Workers that have not ended.
        self.links: Final[dict[int, WorkerLink]] = {}
        #: Process ids of those that have started.
        self.pids: Final[dict[int, int]] = {}
        #: Zygotes in a row that have said nothing.
        self._silent = 0
        self._last_number = 0
        loop.add_reader(zygote.socket.fileno(), self._hear)

    def hire(self) -> int:
        """Start a worker.

        Returns:
            Its number; numbers are not used again.

        Raises:
            OSError: This process has no descriptors left.
        """
        self._last_number += 1
        number = self._last_number
        link = WorkerLink(number)
        self.links[number] = link
        self._loop.add_reader(link.answers_fd, lambda: self._news.answering(number))
        with contextlib.suppress(
            OSError
        ):  # the zygote is gone, as the loop will tell: this worker ends with the others
            socket.send_fds(self._zygote.socket, [ORDER.pack(START, number, *self._limits)], link.fds())
        return number

    def bare_bytes(self) -> int:
        """Return what a worker holds for which nobody is charged: the interpreter, which it shares with its zygote.

        What was preloaded belongs to the calls. So this process, which has nothing of it, tells what an interpreter takes.
        """
        return resident_bytes(os.getpid() if self._preloads else self._zygote.pid)

    def send_more_later(self, number: int) -> None:
        """Go on sending to a worker when it has room."""
        link = self.links[number]

        def send() -> None:
            if link.send_more():
                self._loop.remove_writer(link.calls_fd)

        self._loop.add_writer(link.calls_fd, send)

    def kill(self, number: int) -> None:
        """End a worker now; `ended` follows. One that has ended is left alone."""
        if number in self.links:
            with contextlib.suppress(OSError):
                self._zygote.socket.send(ORDER.pack(KILL, number, 0, 0))

    def end(self, number: int) -> None:
        """End a worker that has nothing to do, so that it may say goodbye where it wants to; `ended` follows."""
        if not self._preloads:
            self.kill(number)
        elif number in self.links and number not in self._asked:
            self._asked.add(number)
            self.links[number].hang_up()
            self._loop.call_later(END_GRACE_MS, lambda: self.kill(number))

    def let_go(self, number: int) -> None:
        """Close the link to a worker that has ended, once everything was taken from it."""
        link = self.links.pop(number)
        self.pids.pop(number, None)
        self._asked.discard(number)
        self._loop.remove(link.answers_fd)
        self._loop.remove(link.calls_fd)
        link.close()

    def close(self) -> None:
        """End all workers and the zygote, and wait until they are over."""
        for number in list(self.links):
            self.let_go(number)
        self._part_with_zygote()

    def _hear(self) -> None:
        """Read all that the zygote has to say."""
        while True:
            try:
                note = self._zygote.socket.recv(NOTE.size)
            except BlockingIOError:
                return
            except OSError:
                note = b""
            if not note:
                self._replace_zygote()
                return
            self._silent = 0
            what, number, pid, status, peak_kib = NOTE.unpack(note)
            if number not in self.links:
                continue
            if what == STARTED:
                self.links[number].handed_over()
                self.pids[number] = pid
                self._news.started(number)
            else:
                self._news.ended(number, status, peak_kib)

    def _replace_zygote(self) -> None:
        lost = list(self.links)
        self._part_with_zygote()
        self._silent += 1
        self._zygote = fork_zygote(self._sandbox, preloads=self._silent <= MAX_SILENT_ZYGOTES)
        self._loop.add_reader(self._zygote.socket.fileno(), self._hear)
        for number in lost:
            if number in self.links:
                self._news.ended(number, _KILLED, 0)

    def _part_with_zygote(self) -> None:
        self._loop.remove(self._zygote.socket.fileno())
        self._zygote.socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._zygote.pid, 0)
