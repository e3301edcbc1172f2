"""The agent's HTTP face: the sandboxes' files (Mesos's files API, reference 3.4), its health and its view of itself.

    GET /files/browse?path=                 [{path, nlink, size, mtime, mode, uid, gid}]
    GET /files/read?path&offset&length      {data, offset}; offset -1 or absent asks for the size
        ...&wait_ms=&known_size=            wait so long while the size is the known one, else the offset (`logs -f`)
        ...&raw=1                           the bytes themselves, more at once; the offset in the header Mesolite-Offset
    GET /files/download?path                the file
    GET /health, /state

Paths are virtual: /FRAMEWORK/TASK/latest/stdout. What they stand for is the business of `files`, and that none leads out of
a sandbox that of `sandbox`.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mesolite.errors import BadInput
from mesolite.webserver import JsonHandler, Route, WebServer

from .files import SandboxFiles
from .sandbox import Part

#: Longest wait for more bytes; below the time after which proxies lose patience.
MAX_WAIT_MS: Final = 25_000
#: Bytes of one raw read.
MAX_RAW_BYTES: Final = 1024 * 1024
#: How often a file that is followed is looked at.
FOLLOW_INTERVAL_S: Final = 0.1
#: Reads that may wait at once; further ones are answered with what there is.
MAX_WAITING_READS: Final = 200
MAX_FILE_BYTES: Final = 2**62


class AgentHttp:
    """Serves one agent's files, health and state."""

    def __init__(
        self, *, host: str, port: int, work_dir: Path, state: Callable[[], object], hostname: str | None = None
    ) -> None:
        """Prepare; the port is taken at `start`.

        Args:
            host: The address to bind.
            port: The port; 0 takes a free one.
            work_dir: The agent's, with its sandboxes.
            state: The agent's view of itself as a JSON value; called from the HTTP thread.
            hostname: What others reach this machine by, where every address is bound.
        """
        files = SandboxFiles(work_dir)
        waiting = asyncio.Semaphore(MAX_WAITING_READS)
        routes: list[Route] = [
            ("/files/browse", _BrowseHandler, {"files": files}),
            ("/files/read", _ReadHandler, {"files": files, "waiting": waiting}),
            ("/files/download", _DownloadHandler, {"files": files}),
            ("/health", _StateHandler, {"state": lambda: {"healthy": True}}),
            ("/state", _StateHandler, {"state": state}),
        ]
        self._server = WebServer(
            routes,
            host=host,
            port=port,
            name="agent-http",
            known_paths=[pattern for pattern, _, _ in routes],
            hostname=hostname,
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


class _BrowseHandler(_FilesHandler):
    """GET /files/browse."""

    def get(self) -> None:
        self.send_json(self._files.browse(self._path()))


class _ReadHandler(_FilesHandler):
    """GET /files/read."""

    def initialize(self, files: SandboxFiles, waiting: asyncio.Semaphore | None = None) -> None:
        super().initialize(files)
        assert waiting is not None, "the route gives it"
        self._waiting = waiting

    async def get(self) -> None:
        path = self._path()
        # Without an offset, as with -1, a read tells the file's size: Mesos's pager finds the end that way.
        offset = self.integer("offset", -1, least=-1, most=MAX_FILE_BYTES)
        length = self.integer("length", -1, least=-1, most=MAX_FILE_BYTES)
        wait_ms = self.integer("wait_ms", 0, least=0, most=MAX_WAIT_MS)
        known_size = self.integer("known_size", offset, least=-1, most=MAX_FILE_BYTES)
        if wait_ms and offset >= 0 and not self._waiting.locked():
            async with self._waiting:
                await self._wait_for_change(path, known_size, wait_ms / 1000)
        part = self._files.read(path, offset=offset, length=length)
        if self.get_query_argument("raw", "") == "1":
            self._send_raw(path, part, length)
        else:
            self.send_json({"data": part.data.decode("utf-8", "replace"), "offset": part.offset})

    def _send_raw(self, path: str, first: Part, length: int) -> None:
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Mesolite-Offset", str(first.offset))
        self.write(first.data)
        sent = len(first.data)
        part = first
        # More than Mesos gives at once, for readers that must keep up with a task; never of two files.
        while part.data and length < 0 and sent < MAX_RAW_BYTES:
            part = self._files.read(path, offset=first.offset + sent)
            if part.inode != first.inode:
                return
            self.write(part.data)
            sent += len(part.data)

    async def _wait_for_change(self, path: str, known_size: int, wait_s: float) -> None:
        """Return when the file has another size (a smaller one where it was rotated), or the time is over."""
        deadline_s = time.monotonic() + wait_s
        # A file that grows tells nobody, so there is no event to wait for.
        while time.monotonic() < deadline_s and self._files.read(path, offset=-1).offset == known_size:  # noqa: ASYNC110
            await asyncio.sleep(FOLLOW_INTERVAL_S)


class _DownloadHandler(_FilesHandler):
    """GET /files/download."""

    async def get(self) -> None:
        path = self._path()
        part = self._files.read(path, offset=0)
        name = path.rstrip("/").rpartition("/")[2]
        name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        while part.data:
            self.write(part.data)
            # Waits for the client, so that one part at most is in memory.
            await self.flush()
            part = self._files.read(path, offset=part.offset + len(part.data))


class _StateHandler(JsonHandler):
    """GET /health and /state."""

    def initialize(self, state: Callable[[], object]) -> None:
        self._state = state

    def get(self) -> None:
        self.send_json(self._state())
