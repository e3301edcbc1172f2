"""How much a task may hold before it puts things aside: told by the resident memory of its process.

Estimates by counting objects are off by factors, so the kernel is asked, once for many items. All parts of a task look at the
same number: what one holds, the others do without. The process's own need comes on top of the budget: that is what it had when
the first task began, and does not grow with what later ones leave unreturned; of which a task gets a quarter of its budget at
least, lest it put aside every item alone.
"""

import contextlib
import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_STATM: Final = Path("/proc/self/statm")
#: Looking costs some 15 microseconds: as much as a hundred items.
_MAX_CHUNK_ITEMS: Final = 16_384
_FIRST_CHUNK_ITEMS: Final = 16
#: So much is read between two looks.
_LOOK_BYTES: Final = 1024 * 1024


def resident_bytes() -> int:
    """Resident memory of this process; 0 where it cannot be known."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


class MemoryBudget:
    """One task's, or one part's of it.

    Args:
        budget_bytes: What may be held.
        resident: Asks how much memory the process has.
    """

    #: The least that this process had when a task began.
    floor_bytes: ClassVar[int | None] = None

    def __init__(self, budget_bytes: int, resident: Callable[[], int] = resident_bytes) -> None:
        self.budget_bytes: Final = budget_bytes
        self._resident: Final = resident
        now = resident()
        floor = MemoryBudget.floor_bytes
        MemoryBudget.floor_bytes = floor = now if floor is None else min(floor, now)
        self._limit_bytes = max(floor + budget_bytes, now + budget_bytes // 4)
        self._last_bytes = now
        self._noted_bytes = 0
        #: How many items to take before the next look: fewer, the larger they are.
        self.chunk_items = _FIRST_CHUNK_ITEMS

    def over(self) -> bool:
        """Look whether too much is held."""
        now = self._resident()
        grown, self._last_bytes, self._noted_bytes = now - self._last_bytes, now, 0
        if grown > self.budget_bytes // 16:
            self.chunk_items = max(1, self.chunk_items // 4)
        elif grown < self.budget_bytes // 64:
            self.chunk_items = min(_MAX_CHUNK_ITEMS, self.chunk_items * 2)
        return now > self._limit_bytes

    def note(self, size_bytes: int) -> None:
        """Something of about this size came in."""
        self._noted_bytes += size_bytes

    def grew_over(self, size_bytes: int) -> bool:
        """Look, once enough has come in since the last time."""
        self._noted_bytes += size_bytes
        return self._noted_bytes >= min(_LOOK_BYTES, self.budget_bytes // 32) and self.over()

    def relieved(self) -> None:
        """Something was put aside. What the process got back of it and cannot return is not counted again."""
        if self._resident is resident_bytes:
            _return_memory()
        now = self._resident()
        self._last_bytes = now
        self._limit_bytes = max(self._limit_bytes, now + self.budget_bytes // 8)


def _return_memory() -> None:
    """Have the C library return what it has free (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
