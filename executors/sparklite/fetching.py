"""Fetches the segments of a reduce partition: a few requests ahead of whoever merges them, in order.

Small segments are asked for together. Large ones are in pieces, so that none has to fit into memory and no store has to wait for
the merging.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from .blocks import BlockLost, BlockRange
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
#: Requests made, and not merged yet.
_AHEAD: Final = 4
#: Segments in one request: one for each of some agents.
_MAX_TOGETHER: Final = 32


class _Piece(NamedTuple):
    """Bytes of a segment."""

    segment: Segment
    offset: int
    length: int


#: What one request is for: the whole of several segments, or a piece of one.
_Request = list[_Piece]


class _Missing(Exception):
    """A segment cannot be had; found in a thread of its own, where the task must not be told."""

    def __init__(self, segment: Segment, reason: str) -> None:
        super().__init__(reason)
        self.segment = segment
        self.reason = reason


def fetched_columns(segments: tuple[Segment, ...], task: "Task", budget: MemoryBudget) -> Iterator[Columns]:
    """Return the pairs of all segments, one after the other.

    Raises:
        FetchFailed: A segment cannot be had, or is damaged; the task knows it then, too.
    """
    pieces = _fetched([segment for segment in segments if segment.length], task, budget)
    try:
        for segment in segments:
            if segment.length:
                yield from _decoded(segment, pieces, task, budget)
    finally:
        pieces.close()
        task.blocks.rest()


def _decoded(segment: Segment, pieces: Iterator[bytes], task: "Task", budget: MemoryBudget) -> Iterator[Columns]:
    try:
        for columns in decode_frames(_of_segment(segment, pieces), budget.note):
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
    wanted = _requests(segments, size)
    first, second = next(wanted, None), next(wanted, None)
    if first is None:
        return
    if second is None:
        yield from _counted(first, partial(_read, first, task), task)
        return
    wanted = chain((first, second), wanted)
    ahead: deque[tuple[_Request, Future[list[bytes]]]] = deque()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch")
    try:
        while True:
            for following in islice(wanted, _AHEAD - len(ahead)):
                ahead.append((following, pool.submit(_read, following, task)))
            if not ahead:
                return
            request, future = ahead.popleft()
            yield from _counted(request, future.result, task)
            del future
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _requests(segments: list[Segment], size: int) -> Iterator[_Request]:
    """Small segments together, large ones in pieces; in order."""
    together: _Request = []
    held = 0
    for segment in segments:
        if together and (len(together) >= _MAX_TOGETHER or held + segment.length > size):
            yield together
            together, held = [], 0
        if segment.length <= size:
            together.append(_Piece(segment, segment.offset, segment.length))
            held += segment.length
            continue
        for begin in range(0, segment.length, size):
            yield [_Piece(segment, segment.offset + begin, min(size, segment.length - begin))]
    if together:
        yield together


def _read(request: _Request, task: "Task") -> list[bytes]:
    """Read what is asked for.

    Raises:
        _Missing: Of a segment.
    """
    blocks = task.blocks
    try:
        return blocks.read_several([BlockRange(piece.segment.block, piece.offset, piece.length) for piece in request])
    except BlockLost:
        pass
    read: list[bytes] = []
    for segment, offset, length in request:
        try:
            read.append(blocks.read(segment.block, offset, length))
        except BlockLost as lost:
            raise _Missing(segment, str(lost)) from lost
    return read


def _counted(request: _Request, read: Callable[[], list[bytes]], task: "Task") -> list[bytes]:
    began_s = time.perf_counter()
    try:
        found = read()
    except _Missing as missing:
        raise _failed(missing.segment, missing.reason, task) from missing
    counters = task.counters
    counters.fetch_wait_ms += (time.perf_counter() - began_s) * 1000
    for piece in request:
        counters.shuffle_read_bytes += piece.length
        if piece.segment.block.agent_id != task.blocks.agent_id:
            counters.shuffle_read_remote_bytes += piece.length
    return found


def _failed(segment: Segment, reason: str, task: "Task") -> FetchFailed:
    task.fetch_failed = FetchFailed(segment, reason)
    return task.fetch_failed
