"""How much memory a set of processes takes at most, watched from outside while they work."""

import contextlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

#: Reading it takes milliseconds for a process of gigabytes; peaks that matter last longer than this.
EVERY_S: Final = 0.2
_KIB: Final = 1024


class PeakMemory:
    """Watches within a `with` block; what processes share is counted once (Pss of proc_pid_smaps(5)).

    Args:
        processes: The processes that count, asked at each look: some come and go.
    """

    def __init__(self, processes: Callable[[], Iterable[int]]) -> None:
        self._processes: Final = processes
        self._over: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._watch, daemon=True)
        #: Of all looks so far.
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, sum(map(proportional_bytes, self._processes())))
            if self._over.wait(EVERY_S):
                return


def proportional_bytes(pid: int) -> int:
    """Return a process's memory, with its share of what it shares; 0 where it is gone."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * _KIB
    return 0


def with_in_command(text: str) -> list[int]:
    """Return the processes whose command line has this text in it: those that belong to a folder."""
    wanted = text.encode()
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found
