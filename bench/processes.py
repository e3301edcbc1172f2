"""A program of a benchmark, with whatever it starts: one family, found by a mark that all of it carries in its environment."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

from tests.waiting import eventually

from .memory import proportional_bytes

_MARK: Final = "MESOLITE_BENCH_PROGRAM"
#: What fits on a line of notes.
MAX_WORDS_CHARACTERS: Final = 200
#: For it to end by itself, and for what was killed to be gone.
STOP_TIMEOUT_S: Final = 15.0


class Program:
    """One that runs from its making until `stop`.

    Args:
        arguments: Of this Python: `-m celery ...`.
        folder: Where it runs, and its log goes.
        environment: More for its environment.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._mark: Final = uuid4().hex
        self._log: Final = folder / "log"
        with self._log.open("ab") as log:
            self.process: Final = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env={**os.environ, **(environment or {}), _MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # An interrupt typed into the terminal is for the benchmark, which ends this in order.
                start_new_session=True,
            )

    @property
    def pids(self) -> list[int]:
        """The processes of its family."""
        return with_in_environment(f"{_MARK}={self._mark}")

    def last_words(self) -> str:
        """What it said last, for a note."""
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:MAX_WORDS_CHARACTERS] if lines else "it said nothing"

    def stop(self) -> None:
        """End it with SIGTERM, and then whatever of its family is left by force."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """End all of it with SIGKILL."""
        eventually(self._is_gone, within_s=STOP_TIMEOUT_S)

    def _is_gone(self) -> bool:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A zombie has no environment to be found by.
        return self.process.poll() is not None and not self.pids


def with_in_environment(text: str) -> list[int]:
    """Return the processes with this text in their environment (proc_pid_environ(5)): its value when they began."""
    wanted = text.encode()
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        # Of other users, or gone meanwhile. Of one that ended and was not waited for, it is empty.
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def memory_mib(pids: Sequence[int]) -> float:
    """What processes take together; what they share counts once (PSS)."""
    return sum(map(proportional_bytes, pids)) / 2**20
