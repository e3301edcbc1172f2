"""Watches the disk of the work directory: says when there is too little space to launch, and collects old sandboxes."""

import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

import structlog

from mesolite.ids import ContainerId

from .checkpoint import SqliteCheckpoint
from .sandbox import all_sandboxes, disk_used, due_for_removal, remove_sandbox
from .settings import DISK_WATCH_MS, MIN_FREE_DISK_MIB, RESUME_FREE_DISK_MIB

_MIB: Final = 1024 * 1024
_log = structlog.get_logger("mesolite.agent")


class DiskWatch:
    """Looks at one disk now and then. Used from the shell's thread."""

    def __init__(self, work_dir: Path, checkpoint: SqliteCheckpoint, *, interval_ms: int = DISK_WATCH_MS) -> None:
        self._work_dir: Final = work_dir
        self._checkpoint: Final = checkpoint
        self._interval_ms: Final = interval_ms
        self._due_ms = 0
        self._shortage = ""

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
        self._collect(live)
        shortage = self._look()
        if shortage == self._shortage:
            return None
        self._shortage = shortage
        if shortage:
            _log.error("agent.disk_full", reason=shortage)
        else:
            _log.info("agent.disk_has_room", work_dir=str(self._work_dir))
        return shortage

    def _look(self) -> str:
        free_mib = shutil.disk_usage(self._work_dir).free // _MIB
        wanted_mib = RESUME_FREE_DISK_MIB if self._shortage else MIN_FREE_DISK_MIB
        if free_mib >= wanted_mib and self._checkpoint.short_of_space:
            self._checkpoint.regain_reserve()
        if free_mib < wanted_mib or self._checkpoint.short_of_space:
            return f"the agent's disk is full: {free_mib} MiB are free, {wanted_mib} MiB are needed to launch tasks"
        return ""

    def _collect(self, live: Collection[ContainerId]) -> None:
        ended_ms = {path: _last_change_ms(path) for path in all_sandboxes(self._work_dir) if path.name not in live}
        due = due_for_removal(ended_ms, now_ms=time.time_ns() // 1_000_000, disk_used=disk_used(self._work_dir))
        for path in due:
            remove_sandbox(path)
        if due:
            _log.info("agent.sandboxes_collected", count=len(due))


def _last_change_ms(sandbox: Path) -> int:
    """When a sandbox was last written to, near enough: an ended task's output does not change any more."""
    newest_ns = 0
    for path in (sandbox, sandbox / "stdout", sandbox / "stderr"):
        try:
            newest_ns = max(newest_ns, path.lstat().st_mtime_ns)
        except OSError:
            continue
    return newest_ns // 1_000_000
