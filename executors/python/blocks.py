"""The client of block stores: large arguments and results lie on agents' disks instead of travelling through Redis.

The executor's own agent is reached by its unix socket (`blocks.sock`), others by HTTP at the address that a reference carries, or
by the own agent where they cannot be reached from here: a container may have no network.
Used in workers, which fetch and store for their own call, so that main never waits for a disk. A connection is opened for each
block: a call's bytes cost far more.
"""

import fcntl
import http.client
import os
import resource
import secrets
import socket
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from .block_place import SOCKET_NAME
from .calls import BlockRef

#: Nothing of a block came or went for so long: the store is taken to hang.
TIMEOUT_S: Final = 30.0
#: The largest block that is read: a reference comes from elsewhere, and memory is this process's own.
MAX_BLOCK_BYTES: Final = 8 * 1024**3
_PIECE_BYTES: Final = 1024 * 1024
_SHOWN_BYTES: Final = 300


#: Where a worker's descriptors are moved to; less where the process may not have so many.
HIGH_DESCRIPTOR: Final = 900


def high_descriptor() -> int:
    """The lowest descriptor for what a worker must not lose."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(3, min(HIGH_DESCRIPTOR, soft - 16))


class BlockError(Exception):
    """A block cannot be stored or had; the text says which, where and why."""


def sockets_directory() -> Path | None:
    """Where the agent's sockets are, as it has told its executor; None where it has not."""
    directory = os.environ.get("MESOLITE_SOCKETS", "")
    return Path(directory) if directory and Path(directory).is_dir() else None


def store_socket(directory: Path) -> Path:
    """A short way to the store's socket in the directory, whose own path may be longer than a socket's may be.

    The directory stays open as long as the process lives.
    """
    fd = os.open(directory, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    # As high as a worker's other descriptors, where programs that close everything up to 255 do not reach.
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, high_descriptor())
    os.close(fd)
    return Path(f"/proc/self/fd/{high}") / SOCKET_NAME


def path_elsewhere(url: str) -> str:
    """What to ask the own agent for, to have it fetch another agent's block."""
    return f"/elsewhere?url={quote(url, safe='')}"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path: Final = path

    def connect(self) -> None:
        """Connect to the path instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))


class Blocks:
    """One worker's way to blocks. False where the executor has no store of its own."""

    def __init__(self, directory: Path | None) -> None:
        """Open the directory of the agent's sockets: its path may be longer than a socket's may be, and relative."""
        self._path: Path | None = None if directory is None else store_socket(directory)

    @classmethod
    def from_environment(cls) -> "Blocks":
        """The store beside the agent's sockets, where there is one."""
        return cls(sockets_directory())

    def __bool__(self) -> bool:
        return self._path is not None and self._path.exists()

    def put(self, data: bytes) -> BlockRef:
        """Store bytes under a new name.

        Raises:
            BlockError: The store is full, gone, or refuses.
        """
        assert self._path is not None, "asked for a store that is not there"
        block_id = secrets.token_hex(16)
        headers = {"Content-Length": str(len(data)), "Content-Type": "application/octet-stream"}
        connection = UnixConnection(self._path)
        try:
            connection.request("PUT", f"/blocks/{block_id}", body=data, headers=headers)
            answer = connection.getresponse()
            text = answer.read(_SHOWN_BYTES).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise BlockError(f"the agent's block store cannot be reached: {error}") from error
        finally:
            connection.close()
        if answer.status not in (200, 201, 204):
            raise BlockError(f"the agent's block store takes no {len(data):,} bytes: {answer.status} {text}")
        return BlockRef(block_id, len(data), answer.headers.get("Location", ""))

    def get(self, reference: BlockRef) -> bytes:
        """Fetch a block, from the own agent where it has it, else from where the reference says.

        Raises:
            BlockError: It cannot be had, or is not what the reference says.
        """
        if reference.size_bytes > MAX_BLOCK_BYTES:
            raise BlockError(
                f"block {reference.block_id} has {reference.size_bytes:,} bytes; at most {MAX_BLOCK_BYTES:,}"
            )
        tried: list[str] = []
        if self._path is not None and self:
            data = _fetch(UnixConnection(self._path), f"/blocks/{reference.block_id}", reference, tried)
            if data is not None:
                return data
        if reference.url:
            data = self._get_elsewhere(reference, tried)
            if data is None and self._path is not None:
                data = _fetch(UnixConnection(self._path), path_elsewhere(reference.url), reference, tried)
            if data is not None:
                return data
        raise BlockError(f"block {reference.block_id} cannot be had: {'; '.join(tried) or 'nobody to ask'}")

    def _get_elsewhere(self, reference: BlockRef, tried: list[str]) -> bytes | None:
        try:
            where = urlsplit(reference.url)
            host, port = where.hostname, where.port
            if not host or where.scheme != "http":
                raise ValueError("blocks are served over HTTP")
        except ValueError as error:
            tried.append(f"{reference.url!r} is no address: {error}")
            return None
        path = f"{where.path}?{where.query}" if where.query else where.path
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        return _fetch(connection, path, reference, tried)


def _fetch(connection: http.client.HTTPConnection, path: str, reference: BlockRef, tried: list[str]) -> bytes | None:
    """The bytes, or None and one more line of what was tried."""
    place = connection.host if connection.host != "localhost" else "the own agent"
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            tried.append(f"{place}: {answer.status} {answer.read(_SHOWN_BYTES).decode(errors='replace')}")
            return None
        return _body(answer, reference.size_bytes)
    except (OSError, http.client.HTTPException, ValueError) as error:
        tried.append(f"{place}: {error}")
        return None
    finally:
        connection.close()


def _body(answer: http.client.HTTPResponse, size_bytes: int) -> bytes:
    """Read as many bytes as the reference says.

    Raises:
        ValueError: There are more or fewer.
    """
    data = bytearray(size_bytes)
    view, filled = memoryview(data), 0
    while filled < size_bytes:
        count = answer.readinto(view[filled : filled + _PIECE_BYTES])
        if not count:
            raise ValueError(f"only {filled:,} of {size_bytes:,} bytes came")
        filled += count
    if answer.read(1):
        raise ValueError(f"more than {size_bytes:,} bytes came")
    return bytes(data)
