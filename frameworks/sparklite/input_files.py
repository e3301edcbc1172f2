"""Which files a path means, and how they are parted into partitions: as Hadoop's input formats do it.

A path may name several, with commas between them, and may have patterns in it (`*`, `?`, `[abc]`, `[^a]`, `{a,b}`). A directory
means the files in it, in order of names. Names that begin with `_` or `.` are hidden.
"""

import re
from math import ceil
from pathlib import Path
from typing import Final, NamedTuple

from mesolite.executors.sparklite.files import FilePiece, is_compressed

from .errors import SparkError

#: Hadoop's block of a local file (fs.local.block.size): a piece has at most so many bytes.
BLOCK_BYTES: Final = 32 * 1024 * 1024
#: The last piece may be so much larger than others (`FileInputFormat`), so that none is tiny.
_SLOP: Final = 1.1
#: What opening a file costs, in bytes that could be read meanwhile, and the most bytes of files that go together
#: (spark.files.openCostInBytes, spark.files.maxPartitionBytes).
_OPEN_COST_BYTES: Final = 4 * 1024 * 1024
_TOGETHER_BYTES: Final = 128 * 1024 * 1024
#: Files that one RDD may read: all names are held, and each is at least one task or part of one.
MAX_FILES: Final = 1_000_000


class InputFile(NamedTuple):
    """One file."""

    path: str
    size_bytes: int


class InputMissing(SparkError):
    """A path that should be read is not there."""


def local_path(address: str) -> str:
    """Return the absolute path of an address (`file:///a`, `file:/a` or a plain path).

    Raises:
        SparkError: It is in a store that sparklite does not read, or empty.
    """
    if not address:
        raise SparkError("Can not create a Path from an empty string")
    scheme, colon, rest = address.partition(":")
    if colon and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        if scheme != "file":
            raise SparkError(
                f"{address}: sparklite reads and writes local files and mounted volumes (file:///...), and nothing by "
                f"{scheme}://. Mount or copy it, or read it inside a function (mapPartitions) with a library for that store"
            )
        address = "/" + rest.lstrip("/")
    return str(Path(address).absolute())


def files_of(paths: str, *, nested: bool = False) -> list[InputFile]:
    """Return the files that a path means.

    Args:
        paths: See the module.
        nested: Leave out directories inside directories, instead of refusing them.

    Raises:
        InputMissing: There is none, for one of the parts.
        SparkError: A part cannot be read.
    """
    found = [file for part in _parts(paths) for file in _files_of(local_path(part), nested)]
    if len(found) > MAX_FILES:
        raise SparkError(
            f"{paths} means {len(found)} files, more than the {MAX_FILES} that one RDD may read: use fewer at a time"
        )
    return found


def pieces_of(files: list[InputFile], wanted: int) -> list[FilePiece]:
    """Part files, so that there are about as many pieces as wanted, or more where blocks are smaller. Empty files have none."""
    goal = sum(file.size_bytes for file in files) // max(wanted, 1)
    size = max(1, min(goal, BLOCK_BYTES))
    return [piece for file in files if file.size_bytes for piece in _pieces_of(file, size)]


def one_by_one(files: list[InputFile]) -> list[FilePiece]:
    """Each file whole."""
    return [FilePiece(file.path, 0, file.size_bytes) for file in files if file.size_bytes]


def records_of(files: list[InputFile], length: int) -> list[FilePiece]:
    """Part files between records of one length."""
    size = max(BLOCK_BYTES // length, 1) * length
    return [
        FilePiece(file.path, start, min(start + size, file.size_bytes))
        for file in files
        for start in range(0, file.size_bytes, size)
    ]


def together(files: list[InputFile], most_bytes: int) -> list[tuple[str, ...]]:
    """Put whole files together until they have so many bytes; what is left at the end, and empty files, go together too."""
    groups: list[tuple[str, ...]] = []
    group: list[int] = []
    size = 0
    for place, file in enumerate(files):
        if file.size_bytes:
            group.append(place)
            size += file.size_bytes
            if size >= most_bytes:
                groups.append(tuple(files[each].path for each in group))
                group, size = [], 0
    begun = set(group)
    left = tuple(file.path for place, file in enumerate(files) if place in begun or not file.size_bytes)
    return [*groups, left] if left else groups


def texts_together(files: list[InputFile], wanted: int) -> list[tuple[str, ...]]:
    """How `wholeTextFiles` puts files together."""
    return together(files, ceil(sum(file.size_bytes for file in files) / max(wanted, 1)))


def binaries_together(files: list[InputFile], wanted: int) -> list[tuple[str, ...]]:
    """How `binaryFiles` puts files together."""
    costs = sum(file.size_bytes + _OPEN_COST_BYTES for file in files)
    return together(files, min(_TOGETHER_BYTES, max(_OPEN_COST_BYTES, costs // max(wanted, 1))))


def _pieces_of(file: InputFile, size: int) -> list[FilePiece]:
    if is_compressed(file.path):
        return [FilePiece(file.path, 0, file.size_bytes)]
    pieces: list[FilePiece] = []
    start = 0
    while (file.size_bytes - start) / size > _SLOP:
        pieces.append(FilePiece(file.path, start, start + size))
        start += size
    if start < file.size_bytes:
        pieces.append(FilePiece(file.path, start, file.size_bytes))
    return pieces


def _files_of(path: str, nested: bool) -> list[InputFile]:
    is_pattern = re.search(r"[*?\[{]", path) is not None
    matches = _matches(path) if is_pattern else [Path(path)]
    matches = [each for each in matches if each.exists() and not _is_hidden(each)]
    if not matches:
        what = f"Input Pattern file:{path} matches 0 files" if is_pattern else f"Input path does not exist: file:{path}"
        raise InputMissing(what)
    found: list[InputFile] = []
    for match in matches:
        if match.is_dir():
            found += _in_directory(match, nested)
        else:
            found.append(InputFile(str(match), match.stat().st_size))
    return found


def _in_directory(directory: Path, nested: bool) -> list[InputFile]:
    found: list[InputFile] = []
    for path in sorted(directory.iterdir()):
        if _is_hidden(path):
            continue
        if not path.is_dir():
            found.append(InputFile(str(path), path.stat().st_size))
        elif not nested:
            raise SparkError(
                f"Path: {path} is a directory inside a directory, which is not read: name it, or use a pattern ({directory}/*)"
            )
    return found


def _matches(pattern: str) -> list[Path]:
    """Names that a pattern of Hadoop's matches, in order and each once."""
    relative = (each.replace("[^", "[!").lstrip("/") for each in _alternatives(pattern))
    return sorted({path for each in relative for path in Path("/").glob(each)})


def _alternatives(pattern: str) -> list[str]:
    """`a{b,c}` as `ab` and `ac`; innermost braces first."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [each for choice in braces[1].split(",") for each in _alternatives(before + choice + after)]


def _parts(paths: str) -> list[str]:
    """Parts between commas, but not those inside braces."""
    parts = [""]
    depth = 0
    for letter in paths:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(("_", "."))
