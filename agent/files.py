"""From the files API's virtual paths to sandboxes: /FRAMEWORK/TASK/latest/stdout, as Mesos names them (reference 3.4).

A run of a task is named by its container, or by `latest`. The tree on disk is asked, not the agent's memory, so that
sandboxes of tasks that ended long ago can be read until they are collected.
"""

from pathlib import Path
from typing import Final

from mesolite.errors import BadInput, NotFound
from mesolite.ids import id_error

from . import sandbox

#: Names the newest run.
LATEST: Final = "latest"


class SandboxFiles:
    """The sandboxes of one agent, for reading."""

    def __init__(self, work_dir: Path) -> None:
        self._tree = work_dir / "sandboxes"

    def read(self, path: str, *, offset: int, length: int = -1) -> sandbox.Part:
        """Return part of a file; see `sandbox.read_file`.

        Raises:
            NotFound: There is no such file, or not any more.
            BadInput: The path is not one, or not of a file.
        """
        root, relative = self._locate(path)
        try:
            return sandbox.read_file(root, relative, offset=offset, length=length)
        except sandbox.SandboxError:
            # Output that is being rotated is gone for a moment: what is there now is read, or its absence told.
            root, relative = self._locate(path)
            return sandbox.read_file(root, relative, offset=offset, length=length)

    def browse(self, path: str) -> list[dict[str, object]]:
        """List a folder with the fields of Mesos's files/browse.

        Raises:
            NotFound: There is no such folder, or not any more.
            BadInput: The path is not one, or not of a folder.
        """
        root, relative = self._locate(path)
        prefix = "/" + "/".join(path.strip("/").split("/")[:3])
        return [
            {
                "path": f"{prefix}/{entry.path}",
                "nlink": entry.nlink,
                "size": entry.size,
                "mtime": entry.mtime_s,
                "mode": entry.mode,
                "uid": entry.uid,
                "gid": entry.gid,
            }
            for entry in sandbox.browse(root, relative)
        ]

    def _locate(self, path: str) -> tuple[Path, str]:
        """Return a sandbox and the path within it; what the path leads to exists and lies inside."""
        parts = path.strip("/").split("/", maxsplit=3)
        if len(parts) < 3:
            raise BadInput(f"{path!r} names no sandbox; paths look like /FRAMEWORK/TASK/latest/stdout")
        framework_id, task_id, run = parts[:3]
        for name in (framework_id, task_id, run):
            if (fault := id_error(name)) is not None:
                raise BadInput(f"{path!r} names no sandbox: {name!r} {fault}")
        root = self._run(self._tree / framework_id / task_id, run)
        relative = parts[3] if len(parts) > 3 else ""
        try:
            if root is not None:
                sandbox.resolve(root, relative)
                return root, relative
        except sandbox.SandboxError:
            pass
        raise NotFound(f"there is no {path} here; the sandbox may be collected, or the task has not begun")

    @staticmethod
    def _run(task: Path, run: str) -> Path | None:
        """Return the sandbox of one run of a task."""
        if run != LATEST:
            return task / run if (task / run).is_dir() else None
        try:
            runs = [(entry.stat().st_ctime_ns, entry) for entry in task.iterdir() if entry.is_dir()]
        except OSError:
            return None
        return max(runs)[1] if runs else None
