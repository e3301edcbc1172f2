"""Files that `SparkContext.addFile` and `.addPyFile` give to tasks.

They lie in a directory that the workers of one executor share: whoever needs a file first fetches it, under another name, so that
nobody sees half of one. Python's path then has the directory, and the archives in it that were added as code.
"""

import importlib
import os
import shutil
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import current
from .blocks import BlockLost, StoredBlock, TaskBlocks

if TYPE_CHECKING:
    from .task_data import TaskSpec

#: Files that are there, by the name of their block; hidden, beside the files.
_MARKS: Final = ".fetched"
#: What is put on the path itself, as it is one file that holds modules.
ARCHIVES: Final = (".zip", ".egg", ".jar")
#: The directories of the contexts of this process, which is a driver's; the last one counts.
_of_driver: Final[list[Path]] = []
#: Held while Python forgets what it listed.
_invalidating: Final = threading.Lock()


class FileLost(Exception):
    """An added file cannot be had now."""

    def __init__(self, block: StoredBlock, reason: str) -> None:
        super().__init__(reason)
        self.block: Final = block
        self.reason: Final = reason


class SparkFiles:
    """See `pyspark.SparkFiles`: where added files lie, on the driver and in tasks."""

    def __init__(self) -> None:
        raise NotImplementedError("Do not construct SparkFiles objects")

    @classmethod
    def get(cls, filename: str) -> str:
        """Return the absolute path of an added file.

        Args:
            filename: Its name, without the folder that it was added from.
        """
        return str((Path(cls.getRootDirectory()) / filename).absolute())

    @classmethod
    def getRootDirectory(cls) -> str:
        """Return the directory of added files.

        Raises:
            RuntimeError: There is neither a task here nor a context.
        """
        task = current.task()
        directory = task.files_directory if task is not None else _of_driver[-1] if _of_driver else None
        if directory is None:
            raise RuntimeError("there are no added files: this is no task, and there is no SparkContext")
        return str(directory.absolute())


def open_driver_directory(directory: Path) -> None:
    """Let `SparkFiles` answer for a context."""
    _of_driver.append(directory)


def close_driver_directory(directory: Path) -> None:
    """The context was stopped."""
    if directory in _of_driver:
        _of_driver.remove(directory)


def have_it_found(directory: Path) -> None:
    """Let `import` find what was just put into a directory that is on the path.

    Python lists a directory anew when its time of change is another. Two changes within one tick of the kernel's clock have
    the same, and a thread that lists it meanwhile would undo `importlib.invalidate_caches`; so it gets a time of its own.
    """
    now_ns = time.time_ns()
    os.utime(directory, ns=(now_ns, now_ns))
    # Two at once would both delete what Python remembers of a path that is not there: a KeyError for one of them.
    with _invalidating:
        importlib.invalidate_caches()


class TaskFiles:
    """The files of one application in one worker.

    Args:
        directory: Where they are to be; need not be there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory: Final = directory
        self._here: Final[set[str]] = set()
        self._on_path: Final[set[str]] = set()

    def fetch(self, spec: "TaskSpec", blocks: TaskBlocks) -> None:
        """Have all files of a task here, and code of them on Python's path.

        Raises:
            FileLost: One cannot be had.
            OSError: The disk is full.
        """
        for name, block in spec.files.items():
            if block.block_id not in self._here:
                self._fetch(name, block, blocks)
                self._here.add(block.block_id)
        for name in spec.py_files:
            if name not in self._on_path:
                self._put_on_path(name)
                self._on_path.add(name)

    def _fetch(self, name: str, block: StoredBlock, blocks: TaskBlocks) -> None:
        marks = self.directory / _MARKS
        marks.mkdir(parents=True, exist_ok=True)
        mark = marks / block.block_id
        if mark.exists():
            return
        draft = marks / f"{block.block_id}.{os.getpid()}-{threading.get_ident()}"
        try:
            with draft.open("wb") as file:
                for piece in blocks.stream(block):
                    file.write(piece)
        except BlockLost as lost:
            raise FileLost(block, f"added file {name}: {lost}") from lost
        if name.endswith("/"):
            _unpack(draft, self.directory / name.rstrip("/"))
        else:
            draft.replace(self.directory / name)
        mark.touch()

    def _put_on_path(self, name: str) -> None:
        path = str(self.directory.absolute() / name) if name.endswith(ARCHIVES) else str(self.directory.absolute())
        if path not in sys.path:
            # Behind the first, which is the program's own (as PySpark does).
            sys.path.insert(1, path)
        have_it_found(self.directory)


def _unpack(archive: Path, target: Path) -> None:
    folder = archive.with_name(f"{archive.name}.unpacked")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    archive.unlink()
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        # Another worker was faster.
        shutil.rmtree(folder)
