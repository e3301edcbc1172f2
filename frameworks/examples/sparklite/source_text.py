"""The input of most examples: the source of Python's standard library, as pairs of a module's name and its text.

The driver reads it and sends it along, so that it does not matter whether workers, in whatever container, see the same files.
"""

import os
import sysconfig
from pathlib import Path
from typing import Final

#: Not the library's: what others installed, caches, and tests, which some systems leave out.
SKIPPED_FOLDERS: Final = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"})


def source_files(limit: int | None = None) -> list[tuple[str, str]]:
    """Return (module, text) of each module, in order of names; at most `limit`."""
    root = Path(sysconfig.get_path("stdlib"))
    paths: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        paths += [Path(folder, name) for name in names if name.endswith(".py")]
    named = sorted((module_of(path.relative_to(root)), path) for path in paths)
    return [(name, path.read_text(encoding="utf-8", errors="replace")) for name, path in named[:limit]]


def module_of(path: Path) -> str:
    """Return the name by which a file is imported."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
