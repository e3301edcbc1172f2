"""Extracts archives that nobody vouches for into a sandbox.

An archive may try to write outside (absolute names, "..", through a link), to create devices, or to expand without end.
Here only files, folders and links that stay inside come out. Members are written to a fresh folder first and moved into
the sandbox when all have been judged, so a refused archive leaves nothing.

Why links cannot lead out. No member's path may pass through a link of the archive, so a link's own folder is real and
its depth known. Its target may begin with at most that many ".." and contain none later: it is then resolved from a real
folder downwards. What it meets on the way may again be such a link, and by the same argument stays inside.
Python's own `tarfile` filters are not relied on: the versions that this project supports have known holes in them.
"""

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from mesolite.errors import FetchError

from .containerizer.policy import User

#: Four times what may be fetched (fetcher.py): common compression; a bomb expands a thousandfold.
MAX_EXPANDED_BYTES: Final = 16 * 1024**3
#: A large checkout or virtual environment has some ten thousand files.
MAX_MEMBERS: Final = 200_000
#: A tar header's extension is read whole into memory; real ones have some hundred bytes.
_MAX_TAR_HEADER_BYTES: Final = 4 * 1024 * 1024
#: A zip's directory is read whole as well: so much for each member that is allowed.
_MAX_ZIP_ENTRY_BYTES: Final = 128
_CHUNK_BYTES: Final = 1 << 20

_TAR_ENDINGS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_BROKEN: Final = (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)


def is_archive(name: str) -> bool:
    """Whether a file is extracted, by its ending (reference 1.17)."""
    return name.lower().endswith((*_TAR_ENDINGS, ".gz", ".zip"))


@dataclass(frozen=True, slots=True)
class _Member:
    """One entry, whatever the format."""

    name: str
    #: Permission bits.
    mode: int
    is_folder: bool = False
    #: Target of a symbolic link, or of a hard link (a member's name).
    symlink: str | None = None
    hardlink: str | None = None
    #: Opens the content; None where there is none.
    open: Callable[[], IO[bytes]] | None = None


class Extractor:
    """Extracts archives into one sandbox."""

    def __init__(
        self,
        sandbox: Path,
        user: User,
        cancelled: Callable[[], bool] = lambda: False,
        *,
        max_expanded_bytes: int = MAX_EXPANDED_BYTES,
        max_members: int = MAX_MEMBERS,
    ) -> None:
        self._sandbox = sandbox
        self._user = user
        self._cancelled = cancelled
        self._max_members = max_members
        self._max_expanded_bytes = max_expanded_bytes
        self._expanded_bytes = 0

    def extract(self, archive: Path) -> None:
        """Extract beside whatever is in the sandbox; the archive stays.

        Raises:
            FetchError: The archive is broken, too large, or asks for what is not allowed. Nothing was extracted.
            OSError: The disk.
        """
        staging = Path(tempfile.mkdtemp(prefix=".extracting-", dir=self._sandbox))
        try:
            name = archive.name.lower()
            if name.endswith(_TAR_ENDINGS):
                self._extract_tar(archive, staging)
            elif name.endswith(".zip"):
                self._extract_zip(archive, staging)
            else:
                with gzip.open(archive) as content:
                    self._write(cast(IO[bytes], content), staging / archive.name[: -len(".gz")], 0o644)
            self._own_all(staging)
            _merge(staging, self._sandbox)
        except _BROKEN as error:
            raise FetchError(f"the archive is broken: {error}") from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _extract_tar(self, archive: Path, staging: Path) -> None:
        with _decompressed(archive) as content:
            # Headers and padding come on top of the content; a quarter more is more than they ever need.
            furthest = self._max_expanded_bytes * 5 // 4 + _MAX_TAR_HEADER_BYTES
            bounded = _BoundedReader(content, max_read_bytes=_MAX_TAR_HEADER_BYTES, max_position=furthest)
            with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:") as tar:
                self._extract_members(_tar_members(tar), staging)

    def _extract_zip(self, archive: Path, staging: Path) -> None:
        with archive.open("rb") as content, zipfile.ZipFile(_bounded_zip(content)) as opened:
            if len(opened.filelist) > self._max_members:
                raise FetchError(f"the archive has more than {self._max_members} members")
            try:
                self._extract_members(_zip_members(opened), staging)
            except (NotImplementedError, RuntimeError):
                raise FetchError("the archive is encrypted or compressed in an unknown way") from None

    def _extract_members(self, members: Iterator[_Member], staging: Path) -> None:
        links: dict[PurePosixPath, str] = {}
        for count, member in enumerate(members, start=1):
            if count > self._max_members:
                raise FetchError(f"the archive has more than {self._max_members} members")
            path = _inside(member.name)
            if any(parent in links for parent in path.parents) or (path in links and member.symlink is None):
                raise FetchError(f"member {member.name!r} would be written through a link")
            if path == PurePosixPath("."):
                continue
            target = staging / path
            if member.is_folder:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.symlink is not None:
                _check_link(path, member.symlink)
                links[path] = member.symlink
            elif member.hardlink is not None:
                self._link(staging, member, target)
            elif member.open is not None:
                with member.open() as content:
                    self._write(content, target, member.mode)
        # Last, so that nothing above can have been written through one.
        for path, destination in links.items():
            if (staging / path).exists():
                raise FetchError(f"member {str(path)!r} is both a link and something else")
            (staging / path).symlink_to(destination)

    def _link(self, staging: Path, member: _Member, target: Path) -> None:
        source = staging / _inside(member.hardlink or "")
        if not source.is_file():
            raise FetchError(f"member {member.name!r} is a link to something that is not in the archive before it")
        target.unlink(missing_ok=True)
        target.hardlink_to(source)

    def _write(self, content: IO[bytes], target: Path, mode: int) -> None:
        target.unlink(missing_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            while chunk := content.read(_CHUNK_BYTES):
                self._expanded_bytes += len(chunk)
                if self._expanded_bytes > self._max_expanded_bytes:
                    raise FetchError(f"the archive expands to more than {self._max_expanded_bytes} bytes")
                if self._cancelled():
                    raise FetchError("the task was killed while its archive was extracted")
                file.write(chunk)
            # No set-user-id bits; the owner can always read and write.
            os.fchmod(file.fileno(), (mode & 0o755) | 0o600)

    def _own_all(self, staging: Path) -> None:
        if os.geteuid() != 0:
            return
        for folder, folders, files in os.walk(staging):
            for name in (*folders, *files):
                os.chown(Path(folder) / name, self._user.uid, self._user.gid, follow_symlinks=False)


class _BoundedReader:
    """A stream that is read neither too far nor too much at once, whatever a header claims.

    `tarfile` and `zipfile` read headers whole into memory, in one `read` of the size that the archive states.
    """

    def __init__(self, content: IO[bytes], *, max_read_bytes: int, max_position: int | None = None) -> None:
        self._content = content
        self._max_read_bytes = max_read_bytes
        self._max_position = max_position

    def read(self, size: int = -1) -> bytes:
        if size > self._max_read_bytes:
            raise FetchError("the archive has a header larger than any real one")
        if size < 0:
            # To the end: how zipfile looks for its directory, in the last 64 KiB.
            size = self._max_read_bytes
        self._check(self._content.tell() + size)
        return self._content.read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        if whence == 0:
            self._check(position)
        return self._content.seek(position, whence)

    def tell(self) -> int:
        return self._content.tell()

    def seekable(self) -> bool:
        return True

    def _check(self, position: int) -> None:
        if self._max_position is not None and position > self._max_position:
            raise FetchError("the archive expands to more than its limit")


def _bounded_zip(content: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], _BoundedReader(content, max_read_bytes=MAX_MEMBERS * _MAX_ZIP_ENTRY_BYTES))


def _decompressed(archive: Path) -> IO[bytes]:
    name = archive.name.lower()
    if name.endswith((".gz", ".tgz")):
        return cast(IO[bytes], gzip.open(archive))
    if name.endswith("bz2"):
        return cast(IO[bytes], bz2.open(archive))
    if name.endswith("xz"):
        return cast(IO[bytes], lzma.open(archive))
    return archive.open("rb")


def _tar_members(tar: tarfile.TarFile) -> Iterator[_Member]:
    while (info := tar.next()) is not None:
        if info.isdir():
            yield _Member(info.name, info.mode, is_folder=True)
        elif info.issym():
            yield _Member(info.name, info.mode, symlink=info.linkname)
        elif info.islnk():
            yield _Member(info.name, info.mode, hardlink=info.linkname)
        elif info.isreg():
            yield _Member(info.name, info.mode, open=partial(_open_tar_member, tar, info))
        else:
            raise FetchError(f"member {info.name!r} is neither file, folder nor link")


def _open_tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(info)
    assert content is not None, "a regular member has content"
    return content


def _zip_members(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        unix_mode = info.external_attr >> 16
        if info.is_dir():
            yield _Member(info.filename, 0o755, is_folder=True)
        elif stat.S_ISLNK(unix_mode):
            if info.file_size > os.pathconf("/", "PC_PATH_MAX"):
                raise FetchError(f"member {info.filename!r} is a link with an impossible target")
            yield _Member(info.filename, 0o777, symlink=os.fsdecode(opened.read(info)))
        elif stat.S_IFMT(unix_mode) not in (0, stat.S_IFREG):
            raise FetchError(f"member {info.filename!r} is neither file, folder nor link")
        else:
            mode = stat.S_IMODE(unix_mode) or 0o644
            yield _Member(info.filename, mode, open=partial(opened.open, info))


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if not name or "\0" in name or path.is_absolute() or ".." in path.parts:
        raise FetchError(f"member {name!r} would leave the sandbox")
    return path


def _check_link(path: PurePosixPath, target: str) -> None:
    parts = PurePosixPath(target).parts
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    depth = len(path.parts) - 1
    if not target or "\0" in target or target.startswith("/") or ups > depth or ".." in parts[ups:]:
        raise FetchError(f"link {str(path)!r} to {target!r} would leave the sandbox")


def _merge(source: Path, destination: Path) -> None:
    """Move everything, folder into folder; a file replaces a file, never a folder, and no link is followed."""
    for entry in sorted(source.iterdir()):
        target = destination / entry.name
        if _is_folder(target):
            if not _is_folder(entry):
                raise FetchError(f"{entry.name!r} is a directory in the sandbox already")
            _merge(entry, target)
        else:
            target.unlink(missing_ok=True)
            entry.rename(target)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
