"""Sorts pairs by key in as much memory as there is.

Pairs are gathered and, when memory is short, sorted and put aside as a run. Runs are merged chunk by chunk: of the chunks at
hand, everything up to the smallest of their last keys cannot be preceded by what is still on disk; it is put together and sorted
again, which for pieces in order is a merge, done in C. The sort is stable, also when descending, as Python's is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain, starmap
from typing import Any, Final

from .blocks import BlockPart
from .counters import Counters
from .frames import Columns, decode_frames, encode_frame
from .memory_budget import MemoryBudget
from .plain_functions import is_same
from .segment_writer import FRAME_BYTES
from .spill_file import SpillFile, bytes_of

#: So many runs are merged at once; when there are more, they become one first. Of each a frame is in memory.
_MAX_RUNS: Final = 32
_MIN_FRAME_BYTES: Final = 4096
_FIRST_FRAME_PAIRS: Final = 256
_MAX_FRAME_PAIRS: Final = 32_768
#: What an item takes in memory beside its bytes, at least.
_ITEM_BYTES: Final = 64


class ExternalSorter:
    """Sorts one partition.

    Args:
        order: What keys are compared by.
        descending: The largest first.
        budget: How much may be held.
        counters: Told what was put aside.
    """

    def __init__(
        self, order: Callable[[Any], Any], budget: MemoryBudget, counters: Counters, *, descending: bool = False
    ) -> None:
        self._order: Final = None if is_same(order) else order
        self._descending: Final = descending
        self._budget: Final = budget
        self._counters: Final = counters
        self._frame_bytes: Final = min(FRAME_BYTES, max(_MIN_FRAME_BYTES, budget.budget_bytes // (8 * _MAX_RUNS)))
        self._frame_pairs = _FIRST_FRAME_PAIRS

    def sorted(self, columns: Iterable[Columns]) -> Iterator[tuple[Any, Any]]:
        """Return the pairs in order.

        Raises:
            TypeError: Keys cannot be compared.
        """
        return chain.from_iterable(starmap(zip, self._sorted(columns)))

    def _sorted(self, columns: Iterable[Columns]) -> Iterator[Columns]:
        with closing(SpillFile(self._counters)) as spill:
            runs: list[list[BlockPart]] = []
            held = Held()
            for each in columns:
                held.add(each)
                if self._budget.grew_over(_ITEM_BYTES * len(each.keys)):
                    runs.append([self._put_aside([self._in_order(held.taken())], spill)])
                    self._budget.relieved()
                    if len(runs) >= _MAX_RUNS:
                        runs = [[self._put_aside(self._merged(runs), spill)]]
            rest = self._in_order(held.taken())
            if not runs:
                yield rest
                return
            if rest.keys:
                runs.append([self._put_aside([rest], spill)])
                del rest
            yield from self._merged(runs)

    def _in_order(self, columns: Columns) -> Columns:
        keys, values = columns
        marks = self._marks(keys)
        if keys is values and marks is keys:
            in_order = sorted(keys, reverse=self._descending)
            return Columns(in_order, in_order)
        places = sorted(range(len(keys)), key=marks.__getitem__, reverse=self._descending)
        if keys is values:
            in_order = [keys[place] for place in places]
            return Columns(in_order, in_order)
        return Columns([keys[place] for place in places], [values[place] for place in places])

    def _marks(self, keys: Sequence[Any]) -> Sequence[Any]:
        return keys if self._order is None else list(map(self._order, keys))

    def _put_aside(self, sorted_columns: Iterable[Columns], spill: SpillFile) -> BlockPart:
        return spill.write(chain.from_iterable(map(self._frames, sorted_columns)))

    def _frames(self, columns: Columns) -> Iterator[bytes]:
        keys, values = columns
        begin = 0
        while begin < len(keys):
            end = begin + self._frame_pairs
            part = keys[begin:end]
            frame, size_bytes = encode_frame(part, part if keys is values else values[begin:end], compress=False)
            self._frame_pairs = max(1, min(_MAX_FRAME_PAIRS, self._frame_bytes * len(part) // size_bytes))
            begin = end
            yield frame

    def _merged(self, runs: list[list[BlockPart]]) -> Iterator[Columns]:
        open_runs = [Run(decode_frames(bytes_of(parts), self._budget.note), self._marks) for parts in runs]
        while open_runs := [run for run in open_runs if run.filled()]:
            first = self._first_to_end(open_runs)
            bound = open_runs[first].marks[-1]
            taken = Held()
            for number, run in enumerate(open_runs):
                # Equals of the bound may still come in its own run: those of later runs have to wait for them.
                taken.add(run.take(len(run.marks) if number == first else self._cut(run, bound, equals=number < first)))
            yield self._in_order(taken.taken())

    def _first_to_end(self, runs: "list[Run]") -> int:
        first = 0
        for number, run in enumerate(runs):
            if self._before(run.marks[-1], runs[first].marks[-1]):
                first = number
        return first

    def _before(self, mark: Any, other: Any) -> bool:
        return bool(other < mark if self._descending else mark < other)

    def _cut(self, run: "Run", bound: Any, *, equals: bool) -> int:
        """How many of a run's pairs come before the bound, or with it."""
        low, high = 0, len(run.marks)
        while low < high:
            middle = (low + high) // 2
            mark = run.marks[middle]
            if not self._before(bound, mark) if equals else self._before(mark, bound):
                low = middle + 1
            else:
                high = middle
        return low


class Held:
    """Pairs that were gathered; keys that are their own values stay one list."""

    def __init__(self) -> None:
        self._keys: list[Any] = []
        self._values: list[Any] = self._keys

    def add(self, columns: Columns) -> None:
        """Gather some more."""
        if columns.keys is not columns.values and self._values is self._keys:
            self._values = list(self._keys)
        self._keys.extend(columns.keys)
        if self._values is not self._keys:
            self._values.extend(columns.values)

    def taken(self) -> Columns:
        """Give away what was gathered."""
        columns = Columns(self._keys, self._values)
        self._keys = self._values = []
        return columns


class Run:
    """A sorted run on disk, of which a frame at a time is in memory."""

    def __init__(self, frames: Iterator[Columns], marks_of: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self._frames: Final = frames
        self._marks_of: Final = marks_of
        self._columns = Columns((), ())
        #: What the pairs at hand are compared by.
        self.marks: Sequence[Any] = ()

    def filled(self) -> bool:
        """See to it that there are pairs at hand; false at the end."""
        while not self.marks:
            following = next(self._frames, None)
            if following is None:
                return False
            self._columns, self.marks = following, self._marks_of(following.keys)
        return True

    def take(self, count: int) -> Columns:
        """Take the first pairs away."""
        keys, values = self._columns
        self.marks = self.marks[count:]
        if keys is values:
            taken, rest = keys[:count], keys[count:]
            self._columns = Columns(rest, rest)
            return Columns(taken, taken)
        self._columns = Columns(keys[count:], values[count:])
        return Columns(keys[:count], values[:count])
