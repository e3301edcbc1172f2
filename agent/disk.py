"""Watches the disk of the work directory: says when there is too little space to launch, and collects old sandboxes.

Collecting runs on a thread of its own, because removing a large sandbox can take longer than an agent may be silent.
"""

import shutil
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from mesolite.ids import ContainerId
from mesolite.logs import get_logger

from .checkpoint import SqliteCheckpoint
from .executor_links.doors import remove_doors, sockets_dir
from .sandbox import all_sandboxes, disk_used, due_for_removal, remove_sandbox
from .settings import DISK_WATCH_MS, MIN_FREE_DISK_MIB, MIN_SANDBOX_AGE_MS, RESUME_FREE_DISK_MIB

_MIB: Final = 1024 * 1024
_log = get_logger("mesolite.agent")


class DiskWatch:
    """Looks at one disk now and then. Used from the shell's thread."""

    def __init__(
        self,
        work_dir: Path,
        checkpoint: SqliteCheckpoint,
        *,
        interval_ms: int = DISK_WATCH_MS,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; the first `watch` looks.

        Args:
            work_dir: The agent's.
            checkpoint: Knows when the disk refused something.
            interval_ms: Between two looks.
            tidy: What else is to be collected at each look; called from the collecting thread.
        """
        self._tidy: Final = tidy
        self._work_dir: Final = work_dir
        self._checkpoint: Final = checkpoint
        self._interval_ms: Final = interval_ms
        self._due_ms = 0
        self._shortage = ""
        self._collector: threading.Thread | None = None

    @property
    def deadline_ms(self) -> int:
        """When `watch` wants to look again."""
        return self._due_ms

    def watch(self, now_ms: int, live: Collection[ContainerId]) -> str | None:
        """Look, where it is time to, or at once where the checkpoint has just run into the end of the disk.

        Args:
            live: Containers whose sandboxes are in use.

        Returns:
            Why nothing can be launched, "" where all is well again, None where nothing changed.
        """
        ran_full = self._checkpoint.short_of_space and not self._shortage
        if now_ms < self._due_ms and not ran_full:
            return None
        self._due_ms = now_ms + self._interval_ms
        if self._collector is None or not self._collector.is_alive():
            self._collector = threading.Thread(
                target=self.collect, args=(frozenset(live),), name="agent-sandbox-gc", daemon=True
            )
            self._collector.start()
        shortage = self._look()
        # Only the turn is news: how much is free changes all the time.
        if bool(shortage) == bool(self._shortage):
            return None
        self._shortage = shortage
        if shortage:
            _log.error("agent.disk_full", reason=shortage)
        else:
            _log.info("agent.disk_has_room", work_dir=str(self._work_dir))
        return shortage

    def collect(self, live: Collection[ContainerId]) -> None:
        """Remove the sandboxes that are old enough for the space there is (reference 1.15, GC)."""
        now_ms = time.time_ns() // 1_000_000
        ended_ms: dict[Path, int] = {}
        for path in all_sandboxes(self._work_dir):
            changed_ms = _last_change_ms(path)
            # A young one may belong to a container launched since `live` was taken, or to somebody who is still reading.
            if path.name not in live and now_ms - changed_ms >= MIN_SANDBOX_AGE_MS:
                ended_ms[path] = changed_ms
        due = due_for_removal(ended_ms, now_ms=now_ms, disk_used=disk_used(self._work_dir))
        for path in due:
            remove_sandbox(path)
        if due:
            _log.info("agent.sandboxes_collected", count=len(due))
        self._collect_sockets(live, now_ms)
        self._tidy()

    def _collect_sockets(self, live: Collection[ContainerId], now_ms: int) -> None:
        """Remove what is left of executors that ended while no agent was there to see it."""
        root = sockets_dir(self._work_dir)
        for path in sorted(root.iterdir()) if root.is_dir() else ():
            # The directory of a younger one may have been made since `live` was taken.
            if path.name not in live and now_ms - path.stat().st_mtime_ns // 1_000_000 >= MIN_SANDBOX_AGE_MS:
                remove_doors(path)

    def _look(self) -> str:
        free_mib = shutil.disk_usage(self._work_dir).free // _MIB
        wanted_mib = RESUME_FREE_DISK_MIB if self._shortage else MIN_FREE_DISK_MIB
        if free_mib >= wanted_mib and self._checkpoint.short_of_space:
            self._checkpoint.regain_reserve()
        if free_mib < wanted_mib or self._checkpoint.short_of_space:
            return f"the agent's disk is full: {free_mib} MiB are free, {wanted_mib} MiB are needed to launch tasks"
        return ""


def _last_change_ms(sandbox: Path) -> int:
    """When a sandbox was last written to, near enough: an ended task's output does not change any more."""
    newest_ns = 0
    for path in (sandbox, sandbox / "stdout", sandbox / "stderr"):
        try:
            newest_ns = max(newest_ns, path.lstat().st_mtime_ns)
        except OSError:
            continue
    return newest_ns // 1_000_000
