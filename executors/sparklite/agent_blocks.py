"""Blocks in the agents' stores: a task's own agent by its socket, others over HTTP, or by the own agent where it must be.

Who cannot be reached is asked again for some seconds, since an agent may be starting again, and its blocks outlive its process.
Who says that a block is not there is believed.
"""

import http.client
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from ..python.blocks import path_elsewhere, sockets_directory, store_socket
from .agent_connection import Connections, Place, Unreachable, place_of, refused
from .blocks import BlockLost, BlockPart, BlockRange, FilePart, StoredBlock, size_of

#: Pauses between tries: five seconds together. An agent that was killed is there again in about two.
PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.5, 2.0)
_PIECE_BYTES: Final = 1024 * 1024
_BAD_GATEWAY: Final = 502
_SHOWN_BYTES: Final = 300
#: So many agents are remembered that can be reached by the own one only.
_MAX_RELAYED: Final = 4096
#: Parts in one request: a store sends no more (its `MAX_PARTS`).
_MAX_SEVERAL: Final = 16

T = TypeVar("T")


class AgentBlocks:
    """See `TaskBlocks`; all methods from any thread.

    Args:
        sockets: The directory of the agent's sockets; None where there is no store of its own: only others' can be read.
        agent_id: The agent's.
        pauses_s: How long to wait before each further try.
    """

    def __init__(self, sockets: Path | None, agent_id: str, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self._agent_id: Final = agent_id
        self._own: Final = None if sockets is None else Place(store_socket(sockets))
        self._pauses_s: Final = tuple(pauses_s)
        self._connections: Final = Connections()
        self._closed: Final = threading.Event()
        #: Agents that could be reached by the own one only: containers may have no network, or another than their agent.
        self._relayed: Final[set[Place]] = set()

    @classmethod
    def from_environment(cls) -> "AgentBlocks":
        """The store of the agent that started this executor."""
        return cls(sockets_directory(), os.environ.get("MESOS_AGENT_ID", ""))

    def close(self) -> None:
        """Ask nobody again, and close connections."""
        self._closed.set()
        self.rest()

    def rest(self) -> None:
        """See `TaskBlocks`. Each connection holds a thread of a store, which others may wait for."""
        self._connections.close()

    @property
    def agent_id(self) -> str:
        """See `TaskBlocks`."""
        return self._agent_id if self._own is not None else ""

    def put(self, block_id: str, data: bytes) -> StoredBlock:
        """See `TaskBlocks`."""
        return self.put_parts(block_id, (data,))

    def put_file(self, block_id: str, path: Path) -> StoredBlock:
        """See `TaskBlocks`."""
        try:
            with path.open("rb") as file:
                return self.put_parts(block_id, (FilePart(file, 0, path.stat().st_size),))
        except OSError as error:
            raise BlockLost(f"block {block_id} cannot be stored: {error}") from error

    def put_parts(self, block_id: str, parts: Sequence[BlockPart]) -> StoredBlock:
        """See `TaskBlocks`. Files go from the kernel to the kernel (sendfile)."""
        own, size_bytes = self._own, size_of(parts)
        if own is None:
            raise BlockLost(f"block {block_id} cannot be stored: this executor's agent has no block store")

        def send(connection: http.client.HTTPConnection) -> None:
            connection.putrequest("PUT", f"/blocks/{block_id}", skip_accept_encoding=True)
            connection.putheader("Content-Length", str(size_bytes))
            connection.endheaders()
            for part in parts:
                if isinstance(part, bytes):
                    connection.sock.sendall(part)
                elif part.length and connection.sock.sendfile(part.file, part.offset, part.length) < part.length:
                    raise OSError("a file of the block was cut short")

        def put() -> StoredBlock:
            with self._connections.answer(own, send) as answer:
                if answer.status not in (200, 201, 204):
                    raise refused(answer, own, block_id)
                answer.read()
                return StoredBlock(block_id, size_bytes, answer.headers.get("Location", ""), self._agent_id)

        return self._tried(f"block {block_id} cannot be stored", put)

    def read(self, block: StoredBlock, offset: int = 0, length: int | None = None) -> bytes:
        """See `TaskBlocks`."""
        end = block.size_bytes if length is None else offset + length
        return self._tried(f"block {block.block_id} cannot be had", lambda: self._part(block, offset, end))

    def read_several(self, wanted: Sequence[BlockRange]) -> list[bytes]:
        """See `TaskBlocks`. One request to each agent; whatever goes wrong with that, each block is asked for by itself."""
        by_agent: dict[str, list[int]] = {}
        for number, each in enumerate(wanted):
            by_agent.setdefault(each.block.agent_id, []).append(number)
        found: dict[int, bytes] = {}
        for numbers in by_agent.values():
            for begin in range(0, len(numbers), _MAX_SEVERAL):
                some = numbers[begin : begin + _MAX_SEVERAL]
                parts = [wanted[number] for number in some]
                read = self._several(parts) if len(parts) > 1 else None
                found.update(zip(some, read or [self.read(*each) for each in parts], strict=True))
        return [found[number] for number in range(len(wanted))]

    def stream(self, block: StoredBlock, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `TaskBlocks`. Each piece is asked for by itself, so that a store need not wait for the reader."""
        end = block.size_bytes if length is None else offset + length
        while offset < end:
            count = min(end - offset, _PIECE_BYTES)
            yield self.read(block, offset, count)
            offset += count

    def _part(self, block: StoredBlock, offset: int, end: int) -> bytes:
        if offset >= end:
            return b""
        ways = self._ways(block)
        for place, path in ways[:-1]:
            try:
                return self._part_from(place, path, block, offset, end)
            except Unreachable:
                continue  # another way
        place, path = ways[-1]
        data = self._part_from(place, path, block, offset, end)
        if len(ways) > 1 and place == self._own and len(self._relayed) < _MAX_RELAYED:
            self._relayed.add(ways[0][0])
        return data

    def _part_from(self, place: Place, path: str, block: StoredBlock, offset: int, end: int) -> bytes:
        def send(connection: http.client.HTTPConnection) -> None:
            connection.putrequest("GET", path, skip_accept_encoding=True)
            if offset or end < block.size_bytes:
                connection.putheader("Range", f"bytes={offset}-{end - 1}")
            connection.endheaders()

        with self._connections.answer(place, send) as answer:
            if answer.status == _BAD_GATEWAY:
                raise Unreachable(f"{place} says {answer.read(_SHOWN_BYTES).decode(errors='replace').strip()}")
            if answer.status not in (200, 206):
                raise refused(answer, place, block.block_id)
            length = answer.length
            whole = answer.status == 200 and (offset or end < block.size_bytes)
            if whole or length != end - offset:
                raise BlockLost(
                    f"block {block.block_id}: {place} sends {length} bytes ({answer.status}) for {offset} to {end} "
                    f"of {block.size_bytes}: it is another one"
                )
            return answer.read()

    def _several(self, parts: Sequence[BlockRange]) -> list[bytes] | None:
        """The parts, all of one agent; None where it does not go this way."""
        place, path = self._ways(parts[0].block)[0]
        token = urlsplit(path).query
        if token and place == self._own:
            return None  # by the own agent, which hands on one block at a time
        named = ",".join(f"{block.block_id}.{offset}.{offset + length - 1}" for block, offset, length in parts)
        query = f"parts={named}&{token}" if token else f"parts={named}"
        length = sum(part.length for part in parts)

        def send(connection: http.client.HTTPConnection) -> None:
            connection.putrequest("GET", f"/blocks/?{query}", skip_accept_encoding=True)
            connection.endheaders()

        try:
            with self._connections.answer(place, send) as answer:
                if answer.status != 200 or answer.length != length:
                    answer.read(_SHOWN_BYTES)
                    return None
                found = [answer.read(part.length) for part in parts]
                # An answer that ends early does so in silence.
                return found if sum(map(len, found)) == length else None
        except Unreachable:
            return None

    def _ways(self, block: StoredBlock) -> list[tuple[Place, str]]:
        """Where to ask for a block, the best first."""
        if self._own is not None and block.agent_id and block.agent_id == self._agent_id:
            return [(self._own, f"/blocks/{block.block_id}")]
        direct = place_of(block.url)
        if self._own is None:
            return [direct]
        relay = (self._own, path_elsewhere(block.url))
        return [relay, direct] if direct[0] in self._relayed else [direct, relay]

    def _tried(self, what: str, attempt: Callable[[], T]) -> T:
        for pause_s in self._pauses_s:
            try:
                return attempt()
            except Unreachable:
                if self._closed.wait(pause_s):
                    break
        try:
            return attempt()
        except Unreachable as error:
            raise BlockLost(f"{what}: {error}") from error
