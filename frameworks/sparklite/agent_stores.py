"""The driver's way to agents' block stores, over HTTP: broadcast values and files go there, results come from there."""

import http.client
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import SplitResult, urlsplit

from mesolite.executors.sparklite.blocks import BlockLost, StoredBlock

from ..futures.engine_call import StorePlace

#: Longest silence of an agent.
TIMEOUT_S: Final = 15.0
_PIECE_BYTES: Final = 1024 * 1024
#: As much of a refusal as goes into a message.
_SHOWN_BYTES: Final = 500
#: How an agent answers where it has stored a block.
_STORED: Final = frozenset({200, 201, 204})


def address_in(place: StorePlace) -> str:
    """Where a block of a store is found, with `{}` for its name; empty where the agent serves none to clients."""
    return f"{place.url.rstrip('/')}/blocks/{{}}?token={place.token}" if place.url else ""


def put(place: StorePlace, agent_id: str, block_id: str, data: bytes) -> StoredBlock:
    """Store bytes at an agent.

    Raises:
        BlockLost: It cannot be reached, or refuses; the text says which.
    """
    url = address_in(place).format(block_id)
    headers = {"Content-Length": str(len(data)), "Content-Type": "application/octet-stream"}
    try:
        connection, path = _connected(url)
        try:
            connection.request("PUT", path, body=_pieces(data), headers=headers)
            answer = connection.getresponse()
            text = answer.read(_SHOWN_BYTES).decode(errors="replace")
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise BlockLost(f"the block store of agent {agent_id} at {place.url} cannot be reached: {error}") from error
    if answer.status not in _STORED:
        raise BlockLost(f"agent {agent_id} does not store {len(data):,} bytes: {answer.status} {text}")
    return StoredBlock(block_id, len(data), answer.headers.get("Location") or url, agent_id)


def read(block: StoredBlock) -> bytes:
    """Fetch a block.

    Raises:
        BlockLost: It cannot be had.
    """
    try:
        connection, path = _connected(block.url)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            data = answer.read(block.size_bytes + 1)
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise BlockLost(f"block {block.block_id} cannot be had from agent {block.agent_id}: {error}") from error
    if answer.status != http.client.OK:
        told = data[:_SHOWN_BYTES].decode(errors="replace")
        raise BlockLost(f"agent {block.agent_id} does not give block {block.block_id}: {answer.status} {told}")
    if len(data) != block.size_bytes:
        raise BlockLost(
            f"block {block.block_id} has {len(data)} bytes at agent {block.agent_id}, not {block.size_bytes}"
        )
    return data


def remove(urls: Iterable[str]) -> list[str]:
    """Remove blocks, one connection for those of one agent that follow one another; return what was refused."""
    refused: list[str] = []
    place, connection = "", None
    for url in urls:
        parts = urlsplit(url)
        try:
            if connection is None or parts.netloc != place:
                if connection is not None:
                    connection.close()
                connection, _ = _connected(url)
                place = parts.netloc
            connection.request("DELETE", _path_of(parts))
            answer = connection.getresponse()
            answer.read()
            if answer.status >= http.client.BAD_REQUEST and answer.status != http.client.NOT_FOUND:
                refused.append(f"{parts.path}: {answer.status}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            refused.append(f"{parts.path}: {error}")
            connection = None
    if connection is not None:
        connection.close()
    return refused


def _connected(url: str) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url!r} is no address of a block")
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S), _path_of(parts)


def _path_of(parts: SplitResult) -> str:
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _pieces(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for begin in range(0, len(view), _PIECE_BYTES):
        yield view[begin : begin + _PIECE_BYTES]
