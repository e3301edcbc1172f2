"""Fetches the segments of a reduce partition: a few requests ahead of whoever merges them, in order.

Large segments are asked for in pieces, so that none has to fit into memory and no store has to wait for the merging.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from .blocks import BlockLost
from .frames import Columns, Damaged, decode_frames
from .memory_budget import MemoryBudget
from .shuffle_data import FetchFailed, Segment

if TYPE_CHECKING:
    from .task import Task

#: Requests under way at once: they wait for agents, and two workers of one agent have it to themselves.
_THREADS: Final = 3
#: A piece, where the budget allows it.
_MAX_PIECE_BYTES: Final = 4 * 1024 * 1024
_MIN_PIECE_BYTES: Final = 64 * 1024
#: Pieces asked for, and not merged yet: by number, and by the bytes of so many whole ones.
_MAX_AHEAD: Final = 16
_AHEAD_PIECES: Final = 4


class _Piece(NamedTuple):
    """One request."""

    segment: Segment
    offset: int
    length: int


def fetched_columns(segments: tuple[Segment, ...], task: "Task", budget: MemoryBudget) -> Iterator[Columns]:
    """Return the pairs of all segments, one after the other.

    Raises:
        FetchFailed: A segment cannot be had, or is damaged; the task knows it then, too.
    """
    pieces = _fetched([segment for segment in segments if segment.length], task, budget)
    try:
        for segment in segments:
            if segment.length:
                yield from _decoded(segment, pieces, task)
    finally:
        pieces.close()
        task.blocks.rest()


def _decoded(segment: Segment, pieces: Iterator[bytes], task: "Task") -> Iterator[Columns]:
    try:
        for columns in decode_frames(_of_segment(segment, pieces)):
            task.counters.items_in += len(columns.keys)
            yield columns
    except Damaged as damaged:
        raise _failed(segment, f"it is damaged: {damaged}", task) from damaged


def _of_segment(segment: Segment, pieces: Iterator[bytes]) -> Iterator[bytes]:
    missing = segment.length
    while missing:
        piece = next(pieces)
        missing -= len(piece)
        yield piece


def _fetched(segments: list[Segment], task: "Task", budget: MemoryBudget) -> Generator[bytes, None, None]:
    size = max(_MIN_PIECE_BYTES, min(_MAX_PIECE_BYTES, budget.budget_bytes // 32))
    wanted = _pieces(segments, size)
    if len(segments) == 1 and segments[0].length <= size:
        for piece in wanted:
            yield _counted(piece, partial(_read, piece, task), task)
        return
    ahead: deque[tuple[_Piece, Future[bytes]]] = deque()
    ahead_bytes = 0
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch")
    try:
        while True:
            while len(ahead) < _MAX_AHEAD and ahead_bytes < _AHEAD_PIECES * size:
                following = next(wanted, None)
                if following is None:
                    break
                ahead.append((following, pool.submit(_read, following, task)))
                ahead_bytes += following.length
            if not ahead:
                return
            piece, future = ahead.popleft()
            data = _counted(piece, future.result, task)
            ahead_bytes -= piece.length
            del future
            yield data
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _pieces(segments: list[Segment], size: int) -> Iterator[_Piece]:
    for segment in segments:
        for begin in range(0, segment.length, size):
            yield _Piece(segment, segment.offset + begin, min(size, segment.length - begin))


def _read(piece: _Piece, task: "Task") -> bytes:
    return task.blocks.read(piece.segment.block, piece.offset, piece.length)


def _counted(piece: _Piece, read: Callable[[], bytes], task: "Task") -> bytes:
    began_s = time.perf_counter()
    try:
        data = read()
    except BlockLost as lost:
        raise _failed(piece.segment, str(lost), task) from lost
    counters = task.counters
    counters.fetch_wait_ms += (time.perf_counter() - began_s) * 1000
    counters.shuffle_read_bytes += len(data)
    if piece.segment.block.agent_id != task.blocks.agent_id:
        counters.shuffle_read_remote_bytes += len(data)
    return data


def _failed(segment: Segment, reason: str, task: "Task") -> FetchFailed:
    task.fetch_failed = FetchFailed(segment, reason)
    return task.fetch_failed
