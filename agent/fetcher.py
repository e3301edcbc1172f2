"""Brings URIs into a sandbox before a task starts: local files and http(s), archives extracted (reference 1.17).

A task names what the agent reads, and the agent has more rights than the task. Hence the rules:

- A local file is read only where the task's user could read it itself, or where it lies below a configured root.
- Nothing is written outside of the sandbox, whatever a URI or an archive says; `stdout` and `stderr` are the agent's.
- Everything has a bound: size, silence, total time, members of an archive, what they expand to.
- A file appears whole under its name or not at all: it is written beside, then renamed.
- A URI's credentials are not repeated in messages.
"""

import contextlib
import errno
import os
import stat
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from mesolite.errors import FetchError
from mesolite.protocol import Uri

from .archives import Extractor, is_archive
from .containerizer.policy import User
from .permissions import may_read

#: Twice the cache that Mesos gives all its fetches together (2 GB): larger inputs belong on a volume.
MAX_FETCH_BYTES: Final = 4 * 1024**3
#: Silence after which a server is given up (mesos `fetcher_stall_timeout`, 1 min).
STALL_TIMEOUT_S: Final = 60.0
#: For one URI as a whole: a server that sends a byte a minute is a stall as well.
TOTAL_TIMEOUT_S: Final = 1800.0
_CHUNK_BYTES: Final = 1 << 20
_RESERVED: Final = frozenset({"stdout", "stderr"})


class Fetcher:
    """Fetches for one agent. Safe from any thread."""

    def __init__(
        self,
        *,
        file_roots: Sequence[str] = (),
        max_bytes: int = MAX_FETCH_BYTES,
        stall_timeout_s: float = STALL_TIMEOUT_S,
    ) -> None:
        """See the module.

        Args:
            file_roots: Local files at or below these are fetched with the agent's rights.
            max_bytes: Bound of one file as it comes, before extraction.
            stall_timeout_s: Silence after which a server is given up (seconds).
        """
        self._file_roots = [Path(root).resolve() for root in file_roots]
        self._max_bytes = max_bytes
        self._stall_timeout_s = stall_timeout_s

    def fetch(self, uri: Uri, sandbox: Path, user: User, *, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Bring one URI into the sandbox, and extract it where it is an archive and that was not declined.

        Args:
            uri: What to fetch.
            sandbox: Where to; must exist.
            user: Who will own the files.
            cancelled: Asked between chunks; True ends the fetch.

        Raises:
            FetchError: Names the URI and says what is wrong with it.
        """
        shown = redacted(uri.value)
        try:
            target = _target(uri, sandbox)
            with contextlib.closing(self._chunks(uri.value, user)) as chunks:
                self._store(chunks, target, user, executable=uri.executable, cancelled=cancelled)
            if uri.extract and not uri.executable and is_archive(target.name):
                Extractor(sandbox, user, cancelled).extract(target)
        except FetchError as error:
            raise FetchError(f"{shown}: {error}") from None
        except ValueError:
            raise FetchError(f"{shown}: it is not a usable address") from None
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why = "the agent's disk is full" if full else f"{error.strerror or error}"
            raise FetchError(f"{shown}: {why}") from None

    def _chunks(self, value: str, user: User) -> Generator[bytes, None, None]:
        scheme = urllib.parse.urlsplit(value).scheme.lower()
        if scheme in ("http", "https"):
            # Not at the top: what it is made of is 4 MiB, and many an agent never fetches from a server.
            from .download import download

            return download(value, self._stall_timeout_s)
        if scheme == "file":
            parts = urllib.parse.urlsplit(value)
            if parts.netloc not in ("", "localhost"):
                raise FetchError("a file: URI names a path on the agent's host: file:///path")
            return self._read_local(Path(urllib.parse.unquote(parts.path)), user)
        if value.startswith("/"):
            return self._read_local(Path(value), user)
        raise FetchError("only http:, https:, file: and absolute paths can be fetched")

    def _read_local(self, path: Path, user: User) -> Generator[bytes, None, None]:
        if not path.is_absolute():
            raise FetchError("the path is not absolute")
        real = path.resolve()
        trusted = any(real.is_relative_to(root) for root in self._file_roots)
        try:
            descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise FetchError("there is no such file on the agent's host") from None
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            mode = os.fstat(descriptor).st_mode
            if not trusted and not may_read(real, os.fstat(descriptor), user):
                raise FetchError(
                    f"user {user} may not read this file, and it is not below any of the agent's fetch_file_roots"
                )
            if stat.S_ISDIR(mode):
                raise FetchError("this is a directory; fetch an archive of it, or use a volume")
            if not stat.S_ISREG(mode):
                raise FetchError("this is not a regular file")
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def _store(
        self, chunks: Iterator[bytes], target: Path, user: User, *, executable: bool, cancelled: Callable[[], bool]
    ) -> None:
        deadline_s = time.monotonic() + TOTAL_TIMEOUT_S
        # The target's folder may be missing: it is made only once there is something to put there.
        descriptor, draft = tempfile.mkstemp(prefix=".fetching-", dir=_existing_parent(target))
        try:
            with os.fdopen(descriptor, "wb") as file:
                size = 0
                for chunk in chunks:
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise FetchError(f"it is larger than the limit of {self._max_bytes} bytes")
                    if time.monotonic() > deadline_s:
                        raise FetchError(f"it took longer than {TOTAL_TIMEOUT_S:.0f} s")
                    if cancelled():
                        raise FetchError("the task was killed while it was fetched")
                    file.write(chunk)
                file.flush()
                os.fchmod(file.fileno(), 0o755 if executable else 0o644)
                own(file.fileno(), user)
            for folder in reversed([parent for parent in target.parents if not parent.exists()]):
                folder.mkdir()
                own(folder, user)
            Path(draft).rename(target)
        finally:
            Path(draft).unlink(missing_ok=True)


def own(what: int | Path, user: User) -> None:
    """Give a file or folder, itself and not what a link points to, to the task's user where the agent may."""
    if os.geteuid() == 0:
        if isinstance(what, int):
            os.fchown(what, user.uid, user.gid)
        else:
            os.chown(what, user.uid, user.gid, follow_symlinks=False)


def redacted(uri: str) -> str:
    """A URI without what may be secret in it: user, password, query."""
    try:
        parts = urllib.parse.urlsplit(uri)
    except ValueError:
        return "the URI"
    host = parts.netloc.rpartition("@")[2]
    query = "..." if parts.query else ""
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, query, ""))


def _target(uri: Uri, sandbox: Path) -> Path:
    """Where a URI goes; the part of the path that exists must really be in the sandbox."""
    name = uri.output_file
    if name is None:
        name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(uri.value).path)).name
    relative = PurePosixPath(name)
    if not name or "\0" in name or relative.is_absolute() or ".." in relative.parts or not relative.name:
        raise FetchError(f"{name!r} is no place inside the sandbox; set output_file to a relative path")
    if str(relative) in _RESERVED:
        raise FetchError(f"{name!r} is the task's own output; set output_file to another name")
    target = sandbox / relative
    if not _existing_parent(target).resolve().is_relative_to(sandbox.resolve()):
        raise FetchError(f"{name!r} leads out of the sandbox")
    if target.is_dir() and not target.is_symlink():
        raise FetchError(f"{name!r} is a directory in the sandbox already")
    return target


def _existing_parent(target: Path) -> Path:
    return next(parent for parent in target.parents if parent.exists())
