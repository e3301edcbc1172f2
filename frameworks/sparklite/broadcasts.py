"""The broadcast values of a context, on the driver: put into a store when they are made, put anew when the store is lost."""

import itertools
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from mesolite.executors.python.explain import explain
from mesolite.executors.sparklite.blocks import StoredBlock
from mesolite.executors.sparklite.broadcast import Broadcast

from ..futures.pickling import dumps
from .drop_list import DropList
from .errors import SparkError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: Unique in the process: see accumulators.py.
_NUMBERS: Final = itertools.count()


class DriverStore(Protocol):
    """The part of `Backend` that is needed here."""

    def put(self, block_id: str, data: bytes) -> StoredBlock:
        """See `Backend`."""
        ...

    def drop(self, blocks: list[StoredBlock]) -> None:
        """See `Backend`."""
        ...


class DriverBroadcast(Broadcast[T_co]):
    """See `pyspark.Broadcast`: the driver's end of a value. Made by `SparkContext.broadcast`."""

    def __init__(self, number: int, value: T_co, block: StoredBlock, registry: "BroadcastRegistry") -> None:
        super().__init__(number, block)
        self._value = value
        self._registry: Final = registry

    def __reduce__(self) -> tuple[Any, ...]:
        return Broadcast, (self._number, self._registry.block_of(self._number))

    @property
    def value(self) -> T_co:
        """The value.

        Raises:
            SparkError: It was destroyed.
        """
        self._registry.block_of(self._number)
        return self._value

    def unpersist(self, blocking: bool = False) -> None:
        """Forget the copies of workers and their agents. A task that needs the value fetches it again."""
        self._registry.unpersist(self._number)

    def destroy(self, blocking: bool = False) -> None:
        """Forget the value everywhere. Whoever uses it afterwards gets an error."""
        self._registry.destroy(self._number)


class _Known:
    """What there is of a value."""

    def __init__(self, block: StoredBlock, file: Path) -> None:
        self.block = block
        #: The pickled value, to be put anew.
        self.file: Final = file
        #: In stores of other agents, by agent.
        self.copies: Final[dict[str, StoredBlock]] = {}


class BroadcastRegistry:
    """Knows broadcast values until they are destroyed or the context is stopped. For use from several threads.

    Args:
        store: Where they are put.
        app_id: The application's.
        directory: The driver's own, for pickles; who made it removes it.
    """

    def __init__(self, store: DriverStore, app_id: str, directory: Path) -> None:
        self._store: Final = store
        self._app_id: Final = app_id
        self._directory: Final = directory
        self._lock: Final = threading.Lock()
        self._known: Final[dict[int, _Known]] = {}
        #: Those that do not lie any more where pickles of them say. Replaced, never changed.
        self._moved: dict[int, StoredBlock] = {}
        self._dropped: Final = DropList()

    def new(self, value: T) -> Broadcast[T]:
        """Put a value where all tasks can read it: what `SparkContext.broadcast` does.

        Raises:
            SparkError: It cannot be pickled, or no store takes it.
        """
        number = next(_NUMBERS)
        data = _pickled(value)
        file = self._directory / f"broadcast-{number}"
        file.write_bytes(data)
        block = self._store.put(f"broadcast-{self._app_id}-{number}", data)
        with self._lock:
            self._known[number] = _Known(block, file)
        return DriverBroadcast(number, value, block, self)

    def block_of(self, number: int) -> StoredBlock:
        """Return where a value lies now.

        Raises:
            SparkError: It was destroyed.
        """
        with self._lock:
            known = self._known.get(number)
        if known is None:
            raise SparkError(
                f"Attempted to use Broadcast({number}) after it was destroyed; make a new one with sc.broadcast"
            )
        return known.block

    # For whoever builds tasks

    def moved(self) -> dict[int, StoredBlock]:
        """`TaskSpec.broadcasts`; not to be changed."""
        return self._moved

    def dropped(self) -> tuple[tuple[int, int], ...]:
        """`TaskSpec.dropped_broadcasts`."""
        return self._dropped.entries()

    def copied(self, copies: Iterable[tuple[int, StoredBlock]]) -> None:
        """Note `TaskDone.copied`, of tasks that were not accepted, too."""
        late: list[StoredBlock] = []
        with self._lock:
            for number, block in copies:
                known = self._known.get(number)
                if known is None:
                    late.append(block)
                else:
                    known.copies[block.agent_id] = block
        if late:
            self._store.drop(late)

    def renew(self, lost: StoredBlock) -> bool:
        """Put a value anew that a task could not read (`TaskMissed.lost`); False: this is no broadcast value.

        Raises:
            SparkError: It was destroyed, or no store takes it.
        """
        prefix = f"broadcast-{self._app_id}-"
        if not lost.block_id.startswith(prefix):
            return False
        number = int(lost.block_id.removeprefix(prefix).partition("-")[0])
        if self.block_of(number) == lost:
            with self._lock:
                known = self._known[number]
            # Under the same name, in whatever store takes it now.
            block = self._store.put(lost.block_id, known.file.read_bytes())
            with self._lock:
                known.block = block
                self._moved = {**self._moved, number: block}
        return True

    # For broadcast objects

    def unpersist(self, number: int) -> None:
        """Forget all but the driver's own."""
        with self._lock:
            known = self._known.get(number)
            copies = list(known.copies.values()) if known is not None else []
            if known is not None:
                known.copies.clear()
        self._dropped.add(number)
        self._store.drop(copies)

    def destroy(self, number: int) -> None:
        """Forget everything; once more changes nothing."""
        with self._lock:
            known = self._known.pop(number, None)
            self._moved = {other: block for other, block in self._moved.items() if other != number}
        self._dropped.add(number)
        if known is not None:
            self._store.drop([known.block, *known.copies.values()])
            known.file.unlink(missing_ok=True)


def _pickled(value: object) -> bytes:
    try:
        return dumps(value)
    except SparkError:
        raise
    # Pickling runs the code of whatever is pickled.
    except Exception as error:
        raise SparkError(f"a broadcast value cannot be pickled: {explain(value, 'value', dumps)}") from error
