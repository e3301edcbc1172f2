"""The agent's HTTP face: the sandboxes' files (Mesos's files API, reference 3.4), its health and its view of itself.

    GET /files/browse?path=                 [{path, nlink, size, mtime, mode, uid, gid}]
    GET /files/read?path&offset&length      {data, offset}; offset -1 or absent asks for the size
        ...&wait_ms=                        wait so long for bytes beyond the offset (`mesolite logs -f`)
        ...&raw=1                           the bytes themselves; the offset in the header Mesolite-Offset
    GET /files/download?path                the file
    GET /health, /state

Paths are virtual: /FRAMEWORK/TASK/latest/stdout. What they stand for, and that none leads outside the sandboxes, is the
business of `sandbox`.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from mesolite.errors import BadInput, NotFound
from mesolite.webserver import JsonHandler, Route, WebServer

#: Bytes of one read, as in Mesos: 16 pages of 4 KiB.
MAX_READ_BYTES: Final = 64 * 1024
#: Longest wait for more bytes; below the time after which proxies lose patience.
MAX_WAIT_MS: Final = 25_000
#: How often a file that is followed is looked at.
FOLLOW_INTERVAL_S: Final = 0.1
#: Reads that may wait at once; further ones are answered with what there is.
MAX_WAITING_READS: Final = 200
#: Bytes of a download in memory at once.
DOWNLOAD_CHUNK_BYTES: Final = 256 * 1024
MAX_FILE_BYTES: Final = 2**62


class SandboxFiles(Protocol):
    """What is served: `sandbox` in production, a folder in tests."""

    def resolve(self, path: str) -> Path | None:
        """Return the real path that a virtual one stands for, or None where there is none (any more)."""
        ...

    def browse(self, path: str) -> Sequence[object] | None:
        """List a directory with the order and fields of Mesos's files/browse, or None where there is none."""
        ...


class AgentHttp:
    """Serves one agent's files, health and state."""

    def __init__(self, *, host: str, port: int, files: SandboxFiles, state: Callable[[], object]) -> None:
        """Prepare; the port is taken at `start`.

        Args:
            host: The address to bind.
            port: The port; 0 takes a free one.
            files: The sandboxes.
            state: The agent's view of itself as a JSON value; called from the HTTP thread.
        """
        waiting = asyncio.Semaphore(MAX_WAITING_READS)
        routes: list[Route] = [
            ("/files/browse", _BrowseHandler, {"files": files}),
            ("/files/read", _ReadHandler, {"files": files, "waiting": waiting}),
            ("/files/download", _DownloadHandler, {"files": files}),
            ("/health", _StateHandler, {"state": lambda: {"healthy": True}}),
            ("/state", _StateHandler, {"state": state}),
        ]
        self._server = WebServer(
            routes, host=host, port=port, name="agent-http", known_paths=[pattern for pattern, _, _ in routes]
        )

    def start(self) -> None:
        """Take the port and serve.

        Raises:
            Unavailable: The port cannot be taken.
        """
        self._server.start()

    @property
    def url(self) -> str:
        """Where it is served; after `start`."""
        return self._server.url

    def close(self) -> None:
        """Stop serving; reads that wait are cut."""
        self._server.close()


class _FilesHandler(JsonHandler):
    """What the three files handlers share."""

    def initialize(self, files: SandboxFiles) -> None:
        self._files = files

    def _path(self) -> str:
        path = self.get_query_argument("path", "")
        if not path:
            raise BadInput("path is missing; give ?path=/FRAMEWORK/TASK/latest/stdout")
        return path

    def _file(self) -> Path:
        path = self._path()
        real = self._files.resolve(path)
        if real is None or not real.exists():
            raise NotFound(f"there is no {path} here; the sandbox may be collected, or the task has not begun")
        if not real.is_file():
            raise BadInput(f"{path} is not a file; list it with /files/browse")
        return real


class _BrowseHandler(_FilesHandler):
    """GET /files/browse."""

    def get(self) -> None:
        path = self._path()
        rows = self._files.browse(path)
        if rows is None:
            raise NotFound(f"there is no directory {path} here")
        self.send_json(rows)


class _ReadHandler(_FilesHandler):
    """GET /files/read."""

    def initialize(self, files: SandboxFiles, waiting: asyncio.Semaphore | None = None) -> None:
        super().initialize(files)
        assert waiting is not None, "the route gives it"
        self._waiting = waiting

    async def get(self) -> None:
        offset = self.integer("offset", -1, least=-1, most=MAX_FILE_BYTES)
        length = self.integer("length", -1, least=-1, most=MAX_FILE_BYTES)
        wait_ms = self.integer("wait_ms", 0, least=0, most=MAX_WAIT_MS)
        file = self._file()
        if offset < 0:
            # Mesos's pager finds the end of a file this way.
            self._answer(b"", _size(file))
            return
        if wait_ms and not self._waiting.locked():
            async with self._waiting:
                await _wait_for_bytes(file, offset, wait_ms / 1000)
        wanted = MAX_READ_BYTES if length < 0 else min(length, MAX_READ_BYTES)
        self._answer(_read(file, offset, wanted), offset)

    def _answer(self, data: bytes, offset: int) -> None:
        if self.get_query_argument("raw", "") == "1":
            self.set_header("Content-Type", "application/octet-stream")
            self.set_header("Mesolite-Offset", str(offset))
            self.write(data)
        else:
            self.send_json({"data": data.decode("utf-8", "replace"), "offset": offset})


class _DownloadHandler(_FilesHandler):
    """GET /files/download."""

    async def get(self) -> None:
        file = self._file()
        name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in file.name)
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        offset = 0
        while chunk := _read(file, offset, DOWNLOAD_CHUNK_BYTES):
            offset += len(chunk)
            self.write(chunk)
            # Waits for the client, so that one chunk at most is in memory.
            await self.flush()


class _StateHandler(JsonHandler):
    """GET /health and /state."""

    def initialize(self, state: Callable[[], object]) -> None:
        self._state = state

    def get(self) -> None:
        self.send_json(self._state())


async def _wait_for_bytes(file: Path, offset: int, wait_s: float) -> None:
    """Return when the file reaches beyond the offset, or the time is over."""
    deadline_s = time.monotonic() + wait_s
    while time.monotonic() < deadline_s:
        if _size(file) > offset:
            return
        await asyncio.sleep(FOLLOW_INTERVAL_S)


def _size(file: Path) -> int:
    """Return the size in bytes; a file that is gone has none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _read(file: Path, offset: int, length: int) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(offset)
            return opened.read(length)
    except FileNotFoundError:
        raise NotFound(f"{file.name} was collected meanwhile") from None
    except PermissionError:
        raise BadInput(f"{file.name} is not readable for the agent") from None
