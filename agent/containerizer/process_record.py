"""What the process containerizer remembers of one container while it lives."""

import contextlib
import os
from pathlib import Path
from typing import Final

from mesolite.ids import ContainerId

from .cgroups import Group
from .contract import ContainerExited
from .policy import DEFAULT_USER, User

_MEBIBYTE: Final = 1024 * 1024


class ProcessRecord:
    """One container. Belongs to one thread at a time: a pool's, the watching one, a pool's again."""

    def __init__(self, container_id: ContainerId, sandbox: Path, mem_mib: int) -> None:
        self.container_id = container_id
        self.sandbox = sandbox
        #: The limit of this moment.
        self.mem_mib = mem_mib
        self.user: User = DEFAULT_USER
        #: The shell that keeps the exit code; also the number of the container's session.
        self.shell_pid = 0
        #: Becomes readable when the shell ends; None before it is watched, and where it ended before.
        self.pidfd: int | None = None
        #: None where control groups cannot be made.
        self.group: Group | None = None
        #: Output files, held open to be bounded.
        self.outputs: dict[Path, int] = {}
        #: When SIGKILL is due (monotonic seconds); None: no kill was asked for.
        self.kill_at_s: float | None = None
        #: SIGTERM is for the first process alone.
        self.ends_first_process = False
        #: SIGTERM reached somebody.
        self.asked_to_end = False
        #: The shell has ended.
        self.ending = False
        #: Seen with more memory than allowed, and killed for it.
        self.over_limit = False
        self.peak_bytes: int | None = None

    @property
    def mem_limit_bytes(self) -> int:
        """The limit of this moment, in bytes."""
        return self.mem_mib * _MEBIBYTE

    def is_unwanted(self) -> bool:
        """A kill was asked for."""
        return self.kill_at_s is not None

    def exited(self, exit_code: int | None, message: str = "", *, oom_killed: bool = False) -> ContainerExited:
        """The report of its end."""
        return ContainerExited(
            container_id=self.container_id,
            exit_code=exit_code,
            oom_killed=oom_killed,
            peak_mem_bytes=self.peak_bytes,
            message=message,
        )

    def let_go(self) -> None:
        """Close what is open; the container does not notice."""
        for descriptor in (*self.outputs.values(), *([self.pidfd] if self.pidfd is not None else [])):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.outputs.clear()
        self.pidfd = None
