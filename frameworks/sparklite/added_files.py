"""Files that a context gives to all its tasks: `SparkContext.addFile` and `.addPyFile`."""

import io
import shutil
import sys
import tarfile
import threading
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.spark_files import (
    ARCHIVES,
    close_driver_directory,
    have_it_found,
    open_driver_directory,
)

from .broadcasts import DriverStore
from .errors import SparkError

#: The largest file, or directory: it passes through the driver's memory.
MAX_FILE_BYTES: Final = 1024 * 1024 * 1024
#: The most files: each task names all of them.
MAX_FILES: Final = 1000


class FileRegistry:
    """Added files, until the context is stopped. For use from several threads.

    Args:
        store: Where they are put.
        app_id: The application's.
        directory: Of the driver, where `SparkFiles` finds them as tasks do; who made it removes it.
    """

    def __init__(self, store: DriverStore, app_id: str, directory: Path) -> None:
        self._store: Final = store
        self._app_id: Final = app_id
        self._directory: Final = directory
        self._lock: Final = threading.Lock()
        #: By the name that tasks know: of a directory with `/` behind it. Replaced, never changed.
        self._blocks: dict[str, StoredBlock] = {}
        #: Where each came from.
        self._origins: Final[dict[str, Path]] = {}
        self._py_files: tuple[str, ...] = ()
        directory.mkdir(parents=True, exist_ok=True)
        open_driver_directory(directory)

    def add(self, path: str, recursive: bool = False) -> None:
        """Give a file to all tasks that follow; one of the same name that was added before stays.

        Args:
            path: A file here; a directory, with `recursive`.
            recursive: Take directories.

        Raises:
            SparkError: It is not there, too large, a directory without `recursive`, or elsewhere than on this machine.
        """
        origin = _local(path)
        if origin.is_dir() and not recursive:
            raise SparkError(f"Added file {path} is a directory and recursive is not turned on")
        if not origin.exists():
            raise SparkError(f"Added file {path} does not exist")
        name = f"{origin.name}/" if origin.is_dir() else origin.name
        with self._lock:
            if name in self._blocks:
                return
            if len(self._blocks) >= MAX_FILES:
                raise SparkError(f"{MAX_FILES} files were added; put more of them into one directory or archive")
            block_id = f"file-{self._app_id}-{len(self._blocks)}"
            copy = self._directory / origin.name
            if origin.is_dir():
                shutil.copytree(origin, copy, dirs_exist_ok=True)
            elif origin.resolve() != copy.resolve():
                shutil.copyfile(origin, copy)
            self._blocks = {**self._blocks, name: self._store.put(block_id, _content(copy))}
            self._origins[name] = origin

    def add_py(self, path: str) -> None:
        """Give a module, or a zip or egg of modules, to all tasks that follow, and put it on the path here as well.

        Raises:
            SparkError: As `add`; it holds no modules.
        """
        origin = _local(path)
        if origin.suffix not in (".py", *ARCHIVES):
            raise SparkError(f"{path} is neither a .py nor a {', '.join(ARCHIVES)}: add it with addFile, or pack it")
        self.add(path)
        with self._lock:
            if origin.name not in self._py_files:
                self._py_files = (*self._py_files, origin.name)
        here = str(self._directory / origin.name if origin.suffix in ARCHIVES else self._directory)
        have_it_found(self._directory)
        if here not in sys.path:
            sys.path.insert(1, here)

    @property
    def listed(self) -> list[str]:
        """`SparkContext.listFiles`: where they came from."""
        with self._lock:
            return [f"file:{origin}" for origin in self._origins.values()]

    # For whoever builds tasks

    def blocks(self) -> dict[str, StoredBlock]:
        """`TaskSpec.files`; not to be changed."""
        return self._blocks

    def py_files(self) -> tuple[str, ...]:
        """`TaskSpec.py_files`."""
        return self._py_files

    def renew(self, lost: StoredBlock) -> bool:
        """Put a file anew that a task could not fetch (`TaskMissed.lost`); False: this is none of them.

        Raises:
            SparkError: No store takes it.
        """
        with self._lock:
            name = next((name for name, block in self._blocks.items() if block.block_id == lost.block_id), None)
            if name is None:
                return False
            if self._blocks[name] == lost:
                block = self._store.put(lost.block_id, _content(self._directory / name.rstrip("/")))
                self._blocks = {**self._blocks, name: block}
            return True

    def close(self) -> None:
        """The context was stopped."""
        close_driver_directory(self._directory)
        prefix = str(self._directory)
        sys.path[:] = [path for path in sys.path if not path.startswith(prefix)]


def _local(path: str) -> Path:
    """A path, or a `file:` URI, of this machine."""
    parts = urlsplit(path)
    if parts.scheme not in ("", "file"):
        raise SparkError(f"{path} cannot be added: fetch it to this machine first; {parts.scheme}: is not read")
    return Path(unquote(parts.path) if parts.scheme else path).absolute()


def _content(path: Path) -> bytes:
    if not path.is_dir():
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SparkError(f"{path} has {path.stat().st_size:,} bytes; an added file may have {MAX_FILE_BYTES:,}")
        return path.read_bytes()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for each in sorted(path.iterdir()):
            archive.add(each, each.name)
    if packed.tell() > MAX_FILE_BYTES:
        raise SparkError(f"{path} has {packed.tell():,} bytes; an added directory may have {MAX_FILE_BYTES:,}")
    return packed.getvalue()
