"""A peer as the benchmark holds it: a process that is asked, with a deadline for each answer, and of which nothing is left.

Peers start processes of their own, some of them detached. All carry a mark in their environment, and whatever still carries
it when the peer was told to end is killed by that. A benchmark that is itself killed closes the peer's standard input, upon
which it ends by itself.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from mesolite.embedded_redis import EmbeddedRedis

from .catalog import PeerSpec
from .environment import MAX_REASON_CHARACTERS, ROOT, PeerMissing, interpreter

#: From the start to the end of the warm-up. Dask and Ray take five seconds on an idle machine.
START_TIMEOUT_S: Final = 90.0
#: For one measurement; those of the slowest take three seconds.
ANSWER_TIMEOUT_S: Final = 120.0
#: For the peer to end what it started, and for what was killed to be gone.
STOP_TIMEOUT_S: Final = 20.0
#: For a peer that failed to say why.
LAST_WORDS_TIMEOUT_S: Final = 5.0
_MARK: Final = "MESOLITE_BENCH_PEER"
_LOOK_EVERY_S: Final = 0.02


class PeerProcess:
    """A peer that runs within a `with` block.

    Args:
        spec: Which.
        environment: More for its environment.
    """

    def __init__(self, spec: PeerSpec, environment: Mapping[str, str] | None = None) -> None:
        self.spec: Final = spec
        #: Its version and how it is set up, as it says itself.
        self.description = ""
        self._more: Final = dict(environment or {})
        #: In the environment of all its processes.
        self.mark: Final = uuid4().hex
        self._cleanup: Final = ExitStack()
        self._process: subprocess.Popen[str] | None = None
        self._log = Path()

    def __enter__(self) -> Self:
        """Start it; returns when it is warm.

        Raises:
            PeerMissing: It cannot be had, or did not start.
        """
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def many_s(self, calls: int | None = None) -> float:
        """Return the seconds from submitting so many calls, or as many as befit it, to the last result."""
        (seconds,) = self._ask(do="many", calls=calls or self.spec.calls)
        return seconds

    def rate(self) -> float:
        """Return calls a second, from submitting as many as befit it to the last result."""
        return self.spec.calls / self.many_s()

    def singles_s(self, calls: int) -> list[float]:
        """Return the seconds that each of so many calls took, one after another."""
        return self._ask(do="singles", calls=calls)

    def pi_s(self, calls: int, samples: int) -> float:
        """Return the seconds that so many calls took together."""
        (seconds,) = self._ask(do="pi", calls=calls, samples=samples)
        return seconds

    def cold_s(self, calls: int) -> list[float]:
        """Return the seconds from nothing to the first result, so many times."""
        return self._ask(do="cold", calls=calls)

    def _start(self) -> None:
        python = interpreter(self.spec.requirements)
        # Short: paths of sockets are made in it.
        folder = Path(
            self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True))
        )
        environment = {
            **os.environ,
            "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            # Hashes of text are the same in all its processes, for those that place by them.
            "PYTHONHASHSEED": "0",
            # Its workers find the functions whatever directory they start in.
            "PYTHONPATH": str(ROOT),
            "BENCH_FOLDER": str(folder),
            "BENCH_OPTION": self.spec.option,
            _MARK: self.mark,
            **self._more,
        }
        if self.spec.uses_redis:
            redis = self._cleanup.enter_context(EmbeddedRedis(folder / "redis"))
            environment["BENCH_REDIS_URL"] = redis.url
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", f"bench.peers.{self.spec.module}"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # An interrupt typed into the terminal is for the benchmark, which ends the peer in order.
                start_new_session=True,
            )
        hello = self._hear(START_TIMEOUT_S)
        self.description = f"{hello['version']}, {hello['setting']}"

    def ask(self, timeout_s: float = ANSWER_TIMEOUT_S, **order: Any) -> dict[str, Any]:
        """Say what is to be done, and return what it says when that is done.

        Raises:
            PeerMissing: It ended, or took too long.
        """
        assert self._process is not None, "it was started"
        assert self._process.stdin is not None, "it was opened as a pipe"
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerMissing(f"ended: {self._last_words()}") from None
        return self._hear(timeout_s)

    def _ask(self, **order: Any) -> list[float]:
        seconds: list[float] = self.ask(**order)["seconds"]
        return seconds

    def _hear(self, timeout_s: float) -> dict[str, Any]:
        assert self._process is not None, "it was started"
        assert self._process.stdout is not None, "it was opened as a pipe"
        # A line is written in one piece, so that where its beginning is, the rest follows.
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            raise PeerMissing(f"no answer within {timeout_s:g} s: {self._last_words()}")
        line = self._process.stdout.readline()
        if not line:
            raise PeerMissing(f"ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        if self._process is not None:
            # What ended it is said last, after it has stopped what it had started.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(LAST_WORDS_TIMEOUT_S)
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:MAX_REASON_CHARACTERS] if lines else "it said nothing"

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None, "it was opened as a pipe"
            assert process.stdout is not None, "it was opened as a pipe"
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
            _end_marked(self.mark)
            process.kill()
            process.wait()
            process.stdout.close()
        self._cleanup.close()


def _end_marked(mark: str) -> None:
    """Kill whatever carries the mark, until nothing does."""
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while (found := marked(mark)) and time.monotonic() < deadline_s:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_LOOK_EVERY_S)


def marked(mark: str) -> list[int]:
    """Return the processes with a mark in their environment (proc_pid_environ(5); elsewhere than on Linux none)."""
    wanted = f"{_MARK}={mark}".encode()
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        # Of other users, or gone meanwhile. Of one that ended and was not waited for, it is empty.
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found
