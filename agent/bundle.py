"""The bundle: the Python executor as a directory that a bare Python runs, made by each agent of its own installation.

    WORK_DIR/bundle-DIGEST/__main__.py              python BUNDLE
                           mesolite_executors/      copies of mesolite.executors.driver, .python, .sparklite and .celery
                           cloudpickle/             a copy of the package, with its license

It is named by what is in it: executors of an earlier version go on with theirs. Compiled code lies beside the sources, because a
container sees the directory read-only and would compile them anew at each start.
"""

import hashlib
import os
import py_compile
import shutil
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath
from typing import Final

import cloudpickle

from mesolite.errors import ConfigError
from mesolite.executors import celery, driver, python, sparklite
from mesolite.executors.python.settings import EXIT_OLD_PYTHON

_PREFIX: Final = "bundle-"
_DIGEST_CHARACTERS: Final = 16
_PACKAGE: Final = "mesolite_executors"
#: Read by whatever is called Python in a container: up to the import nothing newer than Python 2.7 may stand here.
_MAIN: Final = f'''"""Runs the Python executor: `python BUNDLE`."""

import sys

if sys.version_info < (3, 11):
    sys.stderr.write("this container has Python %d.%d; the executor needs 3.11 or newer\\n" % tuple(sys.version_info[:2]))
    sys.exit({EXIT_OLD_PYTHON})

from {_PACKAGE}.python.main import main

sys.exit(main())
'''
#: Packages, and their places in it.
_COPIED: Final = (
    (driver, f"{_PACKAGE}/driver"),
    (python, f"{_PACKAGE}/python"),
    (sparklite, f"{_PACKAGE}/sparklite"),
    (celery, f"{_PACKAGE}/celery"),
    (cloudpickle, "cloudpickle"),
)
_INIT: Final = '"""What an executor of Mesolite is made of, copied from the installation of its agent."""\n'


def assemble_bundle(work_dir: Path) -> Path:
    """Return the directory with the bundle of this installation, made where it is not there.

    Args:
        work_dir: The agent's. Everybody who can pass through it can read the bundle.

    Raises:
        ConfigError: It cannot be made.
    """
    files = bundle_files()
    bundle = work_dir / f"{_PREFIX}{digest_of(files)}"
    try:
        if _is_whole(bundle, files):
            return bundle
        draft = work_dir / f"{_PREFIX}{os.getpid()}.new"
        _remove(draft)
        _write(draft, files)
        # Somebody has been at it: those who run from it have read what they need, or fail, as they would have.
        _remove(bundle)
        draft.rename(bundle)
    except OSError as error:
        raise ConfigError(f"the Python executor cannot be put into {work_dir}: {error.strerror or error}") from None
    return bundle


def remove_old_bundles(work_dir: Path, current: Path) -> None:
    """Remove the bundles of other versions. To be called only where no executor lives: it may be running from one."""
    for path in work_dir.glob(f"{_PREFIX}*"):
        if path != current:
            shutil.rmtree(path, ignore_errors=True)


def bundle_files() -> dict[PurePosixPath, bytes]:
    """Everything that belongs into the bundle, by its path in it; compiled code comes from that.

    Raises:
        ConfigError: The installation is not whole.
    """
    files = {
        PurePosixPath("__main__.py"): _MAIN.encode(),
        PurePosixPath(_PACKAGE, "__init__.py"): _INIT.encode(),
    }
    for module, place in _COPIED:
        assert module.__file__ is not None, "packages of ours and of pip lie in folders"
        folder = Path(module.__file__).parent
        for path in sorted(folder.rglob("*.py")):
            files[PurePosixPath(place, path.relative_to(folder).as_posix())] = path.read_bytes()
    files[PurePosixPath("cloudpickle", "LICENSE")] = _license("cloudpickle")
    return files


def digest_of(files: Mapping[PurePosixPath, bytes]) -> str:
    """Name a bundle by what is in it."""
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:_DIGEST_CHARACTERS]


def _license(name: str) -> bytes:
    """The license of a distribution, which has to go where its code goes."""
    for path in distribution(name).files or ():
        if path.name.upper().startswith(("LICENSE", "LICENCE")):
            return path.read_binary()
    raise ConfigError(f"the installation of {name} has no license beside it; install it anew with pip")


def _is_whole(bundle: Path, files: Mapping[PurePosixPath, bytes]) -> bool:
    try:
        return all((bundle / path).read_bytes() == content for path, content in files.items())
    except OSError:
        return False


def _write(directory: Path, files: Mapping[PurePosixPath, bytes]) -> None:
    for path, content in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if target.suffix == ".py" and target.name != "__main__.py":
            # Valid without a look at the source's time, which a copy of the directory would change (PEP 552).
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(str(target), dfile=str(path), doraise=True, invalidation_mode=mode)
    for folder, _, names in os.walk(directory):
        Path(folder).chmod(0o755)
        for name in names:
            (Path(folder) / name).chmod(0o644)


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)
