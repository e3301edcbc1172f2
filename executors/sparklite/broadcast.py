"""Broadcast values in workers: fetched where a function first asks, and kept for the tasks that follow.

An object that was sent holds a number and where the driver has put the value, not the value. The first worker of an agent fetches
it from there and leaves a copy in its own agent's store, where the next one finds it.
"""

import contextlib
import pickle
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from . import current
from .blocks import BlockLost, StoredBlock

if TYPE_CHECKING:
    from .task import Task

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: What a worker keeps between tasks, as bytes of pickles: a quarter of what it may hold, or so much where that is not known.
MAX_KEPT_BYTES: Final = 256 * 1024 * 1024
KEPT_SHARE: Final = 0.25


class _Held:
    """A value that was unpickled, for all objects of its number."""

    __slots__ = ("size_bytes", "value")

    def __init__(self, value: Any, size_bytes: int) -> None:
        self.value = value
        self.size_bytes: Final = size_bytes


#: Stands in `_Held.value` for one that was forgotten.
_FORGOTTEN: Final = object()


class Broadcast(Generic[T_co]):
    """See `pyspark.Broadcast`: a value that all tasks can read. This is what arrives in workers; the driver makes its own kind.

    Args:
        number: Unique in the driver's process.
        block: Where the driver has put it.
    """

    def __init__(self, number: int, block: StoredBlock) -> None:
        self._number: Final = number
        self._block: Final = block
        self._held: _Held | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Broadcast, (self._number, self._block)

    @property
    def value(self) -> T_co:
        """The value. Whoever changes it changes it for the tasks that follow in this worker, and for no others.

        Raises:
            RuntimeError: No task runs here.
            BlockLost: It cannot be had now; the task ends, and is tried again.
        """
        held = self._held
        value: Any = _FORGOTTEN if held is None else held.value
        if value is _FORGOTTEN:
            task = current.task()
            if task is None:
                raise RuntimeError("a broadcast value that was sent to workers can only be read by tasks")
            self._held = held = task.broadcasts.get(self._number, self._block, task)
            value = held.value
        return value  # type: ignore[no-any-return]

    def unpersist(self, blocking: bool = False) -> None:
        """Not here."""
        raise RuntimeError("Broadcast can only be unpersisted in driver")

    def destroy(self, blocking: bool = False) -> None:
        """Not here."""
        raise RuntimeError("Broadcast can only be destroyed in driver")

    def __repr__(self) -> str:
        return f"Broadcast({self._number})"


class BroadcastValues:
    """Values that one worker holds. What is over the limit is forgotten between tasks, the oldest first: never under a task."""

    def __init__(self) -> None:
        self._values: Final[OrderedDict[int, _Held]] = OrderedDict()
        self._bytes = 0
        #: The last place in the order of dropped values that was heard of.
        self._heard = 0

    def begin(self, dropped: tuple[tuple[int, int], ...], limit_bytes: int) -> None:
        """Forget what nobody needs any more, and what is too much. Called before each task."""
        for place, number in dropped:
            if place > self._heard:
                self._heard = place
                self._forget(number)
        while self._bytes > limit_bytes and self._values:
            self._forget(next(iter(self._values)))

    def get(self, number: int, block: StoredBlock, task: "Task") -> _Held:
        """Return a value, fetched where it is not here.

        Raises:
            BlockLost: It cannot be had; the task was told.
        """
        held = self._values.get(number)
        if held is None:
            data = _fetched(number, task.spec.broadcasts.get(number, block), task)
            held = self._values[number] = _Held(pickle.loads(data), len(data))
            self._bytes += held.size_bytes
        return held

    def _forget(self, number: int) -> None:
        held = self._values.pop(number, None)
        if held is not None:
            self._bytes -= held.size_bytes
            held.value = _FORGOTTEN


def kept_bytes(memory_limit_bytes: int) -> int:
    """How much a worker keeps between tasks."""
    return int(memory_limit_bytes * KEPT_SHARE) or MAX_KEPT_BYTES


def _fetched(number: int, block: StoredBlock, task: "Task") -> bytes:
    """The bytes: of the own agent's store, else from where the driver has put them, with a copy for the next worker here."""
    blocks = task.blocks
    own = blocks.agent_id
    if own and own != block.agent_id:
        try:
            return blocks.read(StoredBlock(block.block_id, block.size_bytes, "", own))
        except BlockLost:
            pass  # the first of this agent
    try:
        data = blocks.read(block)
    except BlockLost as lost:
        task.lose(block, str(lost))
        raise
    if own and own != block.agent_id:
        # A store may be full: the next one fetches it again.
        with contextlib.suppress(BlockLost):
            task.copied[number] = blocks.put(block.block_id, data)
    return data
