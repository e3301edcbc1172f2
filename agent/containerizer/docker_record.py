"""What the Docker containerizer remembers of one container while it lives."""

import contextlib
import enum
import os
import time
from pathlib import Path
from typing import Final

from mesolite.ids import ContainerId

from .contract import ContainerExited
from .docker_engine import AttachedStream
from .docker_output import LogFollower, OutputFiles

_MEBIBYTE: Final = 1024 * 1024
#: What a container exits with that SIGKILL ended.
SIGKILL_CODE: Final = 128 + 9
_SIGTERM_CODE: Final = 128 + 15


class Phase(enum.Enum):
    """See the chart in docker_containerizer.py."""

    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"
    ENDED = "ended"


class Record:
    """One container. Its fields are guarded by the containerizer's lock, but for those of one thread at a time."""

    def __init__(self, container_id: ContainerId, sandbox: Path, mem_mib: int | None) -> None:
        self.container_id = container_id
        self.sandbox = sandbox
        #: The memory limit of this moment; None where it could not be learnt.
        self.mem_mib = mem_mib
        #: STARTING covers preparing too: whoever holds the record then is one pool thread.
        self.phase = Phase.STARTING
        self.since_s = time.monotonic()
        self.said_preparing = False
        #: The engine's id of it; empty until created.
        self.engine_id = ""
        self.stream: AttachedStream | None = None
        self.follower: LogFollower | None = None
        self.files: OutputFiles | None = None
        #: When SIGKILL is due (monotonic seconds); None: no kill was asked for.
        self.kill_at_s: float | None = None
        #: SIGKILL was sent at the end of the grace.
        self.destroyed = False
        #: SIGKILL was sent in place of a SIGTERM that would have killed any process but a container's first.
        self.died_as_asked = False
        self.died = False
        self.dead_since_s: float | None = None
        self.exit_code: int | None = None
        self.oom_killed = False
        #: When all its output was on disk (monotonic seconds).
        self.output_ended_s: float | None = None
        self.peak_bytes: int | None = None
        self._peak_descriptor: int | None = None

    def is_unwanted(self) -> bool:
        """A kill came before the start."""
        return self.kill_at_s is not None

    def mark_dead(self, exit_code: int | None) -> None:
        """It ended; the first word counts, an exit code is added to it."""
        if not self.died:
            self.died = True
            self.dead_since_s = time.monotonic()
        if self.exit_code is None:
            self.exit_code = exit_code

    def open_peak(self, patterns: tuple[str, ...], engine_id: str) -> None:
        """Begin to sample its peak memory, where the kernel's file is at one of the known places."""
        for pattern in patterns:
            with contextlib.suppress(OSError):
                self._peak_descriptor = os.open(pattern.format(id=engine_id), os.O_RDONLY | os.O_CLOEXEC)
                break
        self.sample()

    def sample(self) -> None:
        """Read the peak, under the lock; once the group is gone the last reading stands."""
        if self._peak_descriptor is None:
            return
        try:
            self.peak_bytes = max(self.peak_bytes or 0, int(os.pread(self._peak_descriptor, 32, 0)))
        except (OSError, ValueError):
            self.close_peak()

    def exited(self) -> ContainerExited:
        """The report of its end."""
        code, peak, message = self.exit_code, self.peak_bytes, ""
        if self.died_as_asked and code == SIGKILL_CODE and not self.oom_killed:
            code = _SIGTERM_CODE
        if self.oom_killed and self.mem_mib is not None:
            # The last sample came before the moment that counts; at that moment the limit was reached.
            peak = max(peak or 0, self.mem_mib * _MEBIBYTE)
            message = f"memory limit of {self.mem_mib} MiB exceeded"
        elif self.oom_killed:
            message = "memory limit exceeded"
        elif self.files is not None and self.files.lost_bytes:
            message = f"the sandbox's disk is full or broken: {self.files.lost_bytes} bytes of output were lost"
        return ContainerExited(
            container_id=self.container_id,
            exit_code=code,
            oom_killed=self.oom_killed,
            peak_mem_bytes=peak,
            message=message,
        )

    def never_ran(self) -> ContainerExited:
        """The report of a container that was killed on its way to its start."""
        return ContainerExited(
            container_id=self.container_id,
            exit_code=None,
            oom_killed=False,
            peak_mem_bytes=None,
            message="killed before it started",
        )

    def let_go(self) -> None:
        """Close what is open; the container does not notice."""
        if self.follower is not None:
            self.follower.close()
        if self.stream is not None:
            self.stream.abandon()
        if self.files is not None:
            self.files.close()
            self.files = None

    def close_peak(self) -> None:
        """Stop sampling, under the lock: a descriptor's number is soon another file's."""
        if self._peak_descriptor is not None:
            os.close(self._peak_descriptor)
            self._peak_descriptor = None
