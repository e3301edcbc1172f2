"""The demo's work: the standard library's source, one archive per package, and the right answers.

The answers are counted here by other means than the task counts with (frameworks/examples/count_source.py), from the same
files, so that neither can hide the other's mistake.
"""

import io
import keyword
import os
import stat
import sys
import sysconfig
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesolite.errors import MesoliteError
from mesolite.frameworks.examples.sparklite.source_text import SKIPPED_FOLDERS

#: Fewer would not show much of a cluster; every standard library has more.
MIN_PACKAGES: Final = 40
#: What the archive unpacks to in the sandbox.
SOURCE_FOLDER: Final = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package: its name, and the Python files that stand directly in its folder."""

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """What is counted of one package."""

    lines: int
    words: int
    top_identifier: str


def find_packages() -> list[Package]:
    """Return the packages of this Python's standard library, subpackages on their own, and its lone modules as one.

    Raises:
        MesoliteError: There are too few: their source is not installed.
    """
    root = Path(sysconfig.get_path("stdlib"))
    packages = [Package(name="(modules)", files=tuple(sorted(root.glob("*.py"))))]
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        here = Path(folder)
        if "__init__.py" in names and here != root:
            files = tuple(sorted(here / name for name in names if name.endswith(".py")))
            packages.append(Package(name=".".join(here.relative_to(root).parts), files=files))
    if len(packages) < MIN_PACKAGES:
        raise MesoliteError(f"only {len(packages)} packages have source below {root}; install all of Python's library")
    return packages


def write_archive(package: Package, folder: Path) -> Path:
    """Write a package's files into an archive for the fetcher to bring into a sandbox."""
    path = folder / f"{package.name.strip('()')}.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for file in package.files:
            archive.add(file, f"{SOURCE_FOLDER}/{file.name}", filter=_plain)
    return path


def count_independently(package: Package) -> Count:
    """Count a package by other means than its task: bytes for lines and words, names run by run."""
    lines = words = 0
    names: Counter[str] = Counter()
    for file in package.files:
        content = file.read_bytes()
        lines += len(content.split(b"\n")) - 1
        text = content.decode("utf-8", "replace")
        words += sum(len(line.split()) for line in io.StringIO(text, newline=""))
        names.update(_names(text))
    top = min(names, key=lambda name: (-names[name], name), default="")
    return Count(lines, words, top)


def python_for_tasks(*, in_container: bool) -> str:
    """Return the Python that a task can execute: a container's own, else one that any user of this machine may run."""
    if in_container:
        return "python3"
    candidates = [Path(sys.executable).resolve(), Path("/usr/bin/python3"), Path("/usr/local/bin/python3")]
    return str(next((path for path in candidates if _is_for_everybody(path)), candidates[0]))


def totals(counts: Sequence[Count]) -> tuple[int, int]:
    """Return the sums of lines and words."""
    return sum(count.lines for count in counts), sum(count.words for count in counts)


def _names(text: str) -> list[str]:
    """Split text into runs of identifier characters, by hand."""
    found: list[str] = []
    run: list[str] = []
    for character in text + "\n":
        if character.isascii() and (character.isalnum() or character == "_"):
            run.append(character)
        elif run:
            # A run like 0xff or 1st begins to be a name at its first letter, as the task's expression finds it.
            name = "".join(run).lstrip("0123456789")
            if name and not keyword.iskeyword(name):
                found.append(name)
            run.clear()
    return found


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whose file it was and when it was made."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    member.mtime = 0
    return member


def _is_for_everybody(path: Path) -> bool:
    """Say whether any user may execute a file: tasks do not run as root."""
    try:
        return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))
    except OSError:
        return False
